"""What a start leaves beside the results, and what is refused there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from her_hf.runs.starts import NOTES, SESSIONS, Clock, note_start, notes_in, starts_in


def test_a_line_a_start_and_one_that_was_cut_is_left_out(tmp_path: Path) -> None:
    for _ in range(2):
        note_start(tmp_path, Clock(), {})
    with (tmp_path / SESSIONS).open("a", encoding="utf-8") as stream:
        stream.write('{"version": "0')
    before = (tmp_path / SESSIONS).read_bytes()
    assert [start["notes"] for start in starts_in(tmp_path)] == [[], []]
    assert (tmp_path / SESSIONS).read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x", "JSONDecodeError"),
        ("[]", "not a JSON object"),
        ('{"ended": "today"}', "version: Field required"),
        ('{"tokens": 3}', "Field required"),
    ],
)
def test_a_start_of_another_shape_is_refused(tmp_path: Path, line: str, said: str) -> None:
    note_start(tmp_path, Clock(), {})
    with (tmp_path / SESSIONS).open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(ValueError, match=f"line 2: must be a start, got .*{said}.*delete the line"):
        starts_in(tmp_path)


@pytest.mark.parametrize("notes", [{"actor": "no schema"}, [3], "actor"])
def test_notes_of_another_shape_are_refused(tmp_path: Path, notes: object) -> None:
    (tmp_path / NOTES).write_text(json.dumps(notes), encoding="utf-8")
    with pytest.raises(ValueError, match=r"notes\.json must hold a list of texts .*Delete it"):
        notes_in(tmp_path)
