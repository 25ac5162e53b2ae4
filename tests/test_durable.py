"""Files that survive a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from her_hf.durable import (
    OtherRunError,
    claim,
    derive_seed,
    digest,
    new_file,
    new_folder,
    read_json,
    write_json,
)
from tests.support.paths import ROOT


def test_a_digest_sees_values_and_not_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest("\ud83d") != digest("?")


def test_seeds_differ_by_every_part_and_repeat() -> None:
    seeds = {derive_seed(42, ["book", 1, 0], "turn", index) for index in range(200)}
    assert len(seeds) == 200 and all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(42, "a", 1) == derive_seed(42, "a", 1) != derive_seed(43, "a", 1)


def test_a_folder_knows_its_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def has_results(path: Path) -> bool:
        return (path / "results").exists()

    claim(folder, {"seed": 1}, has_results=has_results)
    claim(folder, {"seed": 2}, has_results=has_results)  # there are no results yet: corrected
    assert read_json(folder / "run.json") == {"seed": 2}
    (folder / "results").touch()
    claim(folder, {"seed": 2}, has_results=has_results)
    with pytest.raises(OtherRunError, match="seed: 2 there, 3 now"):
        claim(folder, {"seed": 3}, has_results=has_results)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(OtherRunError, match=r"thesis\.txt"):
        claim(tmp_path, {}, has_results=lambda _: False)
    claim(tmp_path, {}, has_results=lambda _: False, note="other.json", allowed=("thesis.txt",))
    assert (tmp_path / "other.json").exists()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    with new_file(out) as draft:
        draft.write_text("whole")
        assert not out.exists()
    with pytest.raises(RuntimeError), new_file(out) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"out.bin": "whole"}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_folder(out) as draft:
        (draft / "a").touch()
        assert not out.exists() and draft.parent == out.parent
    assert [path.name for path in out.parent.iterdir()] == ["out"] and out.stat().st_mode & 0o777 == 0o755
    with pytest.raises(OSError, match="disk full"), new_folder(tmp_path / "other") as draft:
        (draft / "a").touch()
        raise OSError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    with pytest.raises(OSError), new_folder(out) as draft:  # what came there meanwhile is not lost
        (draft / "b").touch()
    assert [path.name for path in out.iterdir()] == ["a"] and len(list(out.parent.iterdir())) == 1


def test_what_a_kill_left_is_in_nobodys_way(tmp_path: Path) -> None:
    out = tmp_path / "base"
    code = (
        "import os, signal, sys; from her_hf.durable import new_folder\n"
        "with new_folder(sys.argv[1]) as draft:\n"
        "    (draft / 'model').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT)
    assert process.returncode == -signal.SIGKILL
    (tmp_path / "run.json.1.tmp").write_text("{")
    assert not out.exists() and len(list(tmp_path.iterdir())) == 2
    claim(tmp_path, {"seed": 1}, has_results=lambda _: False)
    with new_folder(out) as draft:
        (draft / "model").write_text("whole")
    assert (out / "model").read_text() == "whole"


def test_json_is_written_in_one_move(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    write_json(file, {"b": 1, "a": "é"})
    assert file.read_text(encoding="utf-8").index('"a"') < file.read_text(encoding="utf-8").index('"b"')
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"seed":'])
def test_a_file_that_holds_no_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"run\.json must hold a JSON object, got .*Restore it"):
        read_json(tmp_path / "run.json")
