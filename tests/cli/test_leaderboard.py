from __future__ import annotations

from pathlib import Path

import pytest

from her_hf.cli.main import main
from tests.support.leaderboard import board_of_four, put
from tests.support.results import coser_run


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["her-hf", "leaderboard", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_build_says_what_it_made_and_how_to_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = board_of_four(tmp_path / "results"), tmp_path / "board"
    assert _run(monkeypatch, "build", str(results), "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "6 runs" in said and f"her-hf push space {out} OWNER/NAME" in said and (out / "index.html").is_file()


def test_check_accepts_what_eval_wrote_and_refuses_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = put(tmp_path / "good", coser_run(6), model="me/x")
    assert _run(monkeypatch, "check", str(good)) == 0
    assert "coser of me/x: valid" in capsys.readouterr().out
    nameless = put(tmp_path / "nameless", coser_run(6))
    assert _run(monkeypatch, "check", str(nameless)) == 1
    assert "no submission.yaml" in capsys.readouterr().err
    assert _run(monkeypatch, "check", str(tmp_path / "nowhere")) == 1
