"""Journals: what is written stays, what was cut goes, and no row is held in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from her_hf.durable import whole_lines
from her_hf.journal import Journal, read_rows
from tests.support.memory import peak_of
from tests.support.paths import ROOT


def by_key(row: dict[str, Any]) -> Any:
    return row["key"]


def keys_in(file: Path) -> list[Any]:
    return [json.loads(line)["key"] for line in whole_lines(file)]


def test_a_journal_drops_a_line_that_was_cut_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "units.jsonl"
    journal = Journal(file, key=by_key)
    journal.add({"key": "a", "value": "安"})
    journal.add({"key": "b", "value": 2})
    with file.open("ab") as stream:
        stream.write('{"key": "c", "value": "安'.encode()[:-1])  # cut in the middle of a character
    assert len(whole_lines(file)) == 2
    again = Journal(file, key=by_key)
    assert list(again) == ["a", "b"] and len(again) == 2 and "a" in again and "c" not in again
    assert again.get("a") == {"key": "a", "value": "安"} and again.get("c") is None
    again.add({"key": "c", "value": 3}, {"key": "d", "value": 4})
    again.add({"key": "a", "value": "new"})
    again.settle(["d", "c", "b", "a", "missing"])
    assert [row["value"] for row in again.rows(["c", "missing", "a"])] == [3, "new"]
    assert [row["key"] for row in again.rows()] == keys_in(file) == ["d", "c", "b", "a"]
    again.settle(["a"])  # a smaller run loses nothing of a larger one
    assert keys_in(file) == ["a", "d", "c", "b"]
    assert [row["value"] for row in again.rows()] == ["new", 4, 3, 2]


@pytest.mark.parametrize("left", [0, 1, 4095, 4096, 4097, 3 * 4096])
def test_a_cut_line_of_any_length_goes(tmp_path: Path, left: int) -> None:
    file = tmp_path / "units.jsonl"
    for start in (b"", b'{"key": 1}\n'):
        file.write_bytes(start + b"x" * left)
        assert len(Journal(file, key=by_key)) == len(start.splitlines()) and file.read_bytes() == start


def test_equal_runs_leave_equal_files_in_whatever_order_units_ended(tmp_path: Path) -> None:
    for name, order in (("one", [1, 2, 3]), ("other", [3, 1, 2])):
        journal = Journal(tmp_path / name, key=by_key)
        for key in order:
            journal.add({"key": key, "again": True})
            journal.add({"key": key})
        journal.settle([1, 2, 3])
    assert (
        (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes() == b'{"key": 1}\n{"key": 2}\n{"key": 3}\n'
    )


def test_what_another_process_wrote_survives_settling(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    one, other = Journal(file, key=by_key), Journal(file, key=by_key)
    one.add({"key": 1})
    other.add({"key": 2})
    one.settle([1])
    assert keys_in(file) == [1, 2] and set(Journal(file, key=by_key)) == {1, 2}


def test_rows_are_found_after_another_process_has_moved_them(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    one = Journal(file, key=by_key)
    for key in range(5):
        one.add({"key": key, "text": "x" * key})
    other = Journal(file, key=by_key)
    other.settle([4, 2, 0])
    one.add({"key": 5, "text": ""})
    other.settle([3, 5])
    assert [one.get(key) for key in range(6)] == [{"key": key, "text": "x" * (key % 5)} for key in range(6)]
    other.file.write_text('{"key": 1}\n')
    assert one.get(3) is None and one.get(1) == {"key": 1}


SHARING = """
import sys
from her_hf.journal import Journal, read_rows

name, file = sys.argv[1:]
journal = Journal(file, key=lambda row: row["key"])
for number in range(60):
    journal.add({"key": f"{name}{number}", "text": "x" * 3000})
    assert journal.get(f"{name}{number // 2}")["key"] == f"{name}{number // 2}"
    if number % 3 == 0:
        journal.settle([f"{name}{number}"])
"""


def test_processes_that_add_and_settle_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    working = [subprocess.Popen([sys.executable, "-c", SHARING, name, str(file)], cwd=ROOT) for name in "ab"]
    assert [process.wait(120) for process in working] == [0, 0]
    assert set(Journal(file, key=by_key)) == {f"{name}{number}" for name in "ab" for number in range(60)}


def test_a_truncated_line_of_another_process_is_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    journal = Journal(file, key=by_key)
    journal.add({"key": 1})
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"key": 2, "te')  # a process that was killed here
    journal.add({"key": 3})
    assert keys_in(file) == [1, 3] and journal.get(3) == {"key": 3}


def test_a_journal_holds_no_rows(tmp_path: Path) -> None:
    """Twenty megabytes of rows; opening, settling and reading one after the other never hold a tenth of them."""
    file = tmp_path / "rows.jsonl"
    text = "x" * 20_000
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps({"key": key, "text": text}) + "\n" for key in range(1000))

    def work() -> None:
        journal = Journal(file, key=by_key)
        journal.settle(reversed(range(1000)))
        assert sum(len(row["text"]) for row in journal.rows()) == 20_000_000

    assert peak_of(work) < 2_000_000


def test_rows_may_be_read_again_and_are_those_of_now(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "rows.jsonl", key=by_key)
    journal.add({"key": 1, "text": "a"}, {"key": 2, "text": "b"})
    rows = journal.rows([2, 3, 1])
    assert [row["text"] for row in rows] == ["b", "a"]
    journal.add({"key": 1, "text": "c"}, {"key": 3, "text": "d"})
    assert [row["text"] for row in rows] == ["b", "d", "c"]


def test_a_file_in_order_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    journal = Journal(file, key=by_key)
    journal.add({"key": 1}, {"key": 2}, {"key": 9})
    before = file.stat().st_ino
    journal.settle([1, 2, 5])
    assert file.stat().st_ino == before and keys_in(file) == [1, 2, 9]
    journal.settle([2, 1])
    assert file.stat().st_ino != before and keys_in(file) == [2, 1, 9]
    journal.add({"key": 1, "text": "newer"})  # in order by its first line, but with a line that no longer counts
    journal.settle([2, 1])
    assert keys_in(file) == [2, 1, 9] and journal.get(1) == {"key": 1, "text": "newer"}


class Shape(BaseModel):
    key: int
    failure: dict[str, str] | None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "not a JSON object"),
        ("no json", "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("3", "not a JSON object"),
        ('{"other": 1, "failure": null}', "key: Field required"),
        ('{"key": 2}', "failure: Field required"),
        ('{"key": "2", "failure": null}', "key: Input should be a valid integer"),
        ('{"key": 2, "failure": "timeout"}', "failure: Input should be"),
        ('{"key": 2, "failure": null, "settings": "then"}', "settings must be 'now', got 'then'"),
        ('{"key": 2, "failure": null}', "settings must be 'now', got None"),
        (f'{{"key": 2, "failure": null, "settings": "{"x" * 9999}"}}', "belongs to another run"),
        (f'{{"key": 2, "failure": "{"x" * 9999}"}}', "failure: Input should be"),
    ],
)
def test_a_line_of_another_shape_or_run_is_refused_and_nothing_is_lost(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "units.jsonl"
    text = f'{{"key": 1, "failure": null, "settings": "now"}}\n{line}\n'
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        Journal(file, key=by_key, shape=Shape, same={"settings": "now"})
    message = str(refused.value)
    assert f"{file}, line 2: " in message and said in message and len(message) < len(str(file)) + 600
    assert "Delete the line, so that its unit is repeated, or choose another output folder." in message
    assert file.read_text(encoding="utf-8") == text


def test_rows_are_read_as_they_stand_and_the_file_is_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "units.jsonl"
    text = '{"key": 2, "failure": null}\n\n{"key": 1, "failure": {"cause": "cut"}}\n{"key": 3, "fail'
    file.write_text(text, encoding="utf-8")
    assert [key for key, _ in read_rows(file, key=by_key, shape=Shape)] == [2, 1]
    file.write_text('{"key": 2, "failure": null}\n{"key": "2"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"units\.jsonl, line 2: must be a unit, got .*Correct or delete the line"):
        list(read_rows(file, key=by_key, shape=Shape, what="a unit"))


def test_a_row_that_could_not_be_resumed_from_is_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "units.jsonl", key=by_key, shape=Shape, same={"settings": ["now"]})
    for row in ({"key": 1, "settings": ["now"]}, {"key": 1, "failure": None, "settings": []}):
        with pytest.raises(ValueError, match=r"units\.jsonl, a new row: "):
            journal.add(row)
    assert not journal.file.exists()
    journal.add({"key": 1, "failure": None, "settings": ("now",)})
    assert list(Journal(journal.file, key=by_key, shape=Shape, same={"settings": ["now"]})) == [1]
