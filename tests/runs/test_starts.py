"""What a start leaves beside the results, and what is refused there."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from her_hf.inference import Caller
from her_hf.runs import starts
from her_hf.runs.starts import NOTES, SESSIONS, Clock, Notes, note_start, notes_in, starts_in


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


class Noted(Caller):
    """A caller whose model has notes."""

    def __init__(self, *notes: str) -> None:
        self._notes = list(notes)

    @property
    def notes(self) -> list[str]:
        return self._notes


def test_notes_are_written_once_and_off_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    read = starts.notes_in

    def counted(out: Path) -> list[str]:
        threads.append(threading.get_ident())
        return read(out)

    monkeypatch.setattr(starts, "notes_in", counted)
    model = Noted("no schema")

    async def main() -> None:
        notes = Notes(tmp_path, {"judge": model})
        await asyncio.gather(*(notes.keep() for _ in range(50)))
        assert read(tmp_path) == ["judge: no schema"] and len(threads) == 1
        model.notes.append("no seed")
        await notes.keep()

    asyncio.run(main())
    assert read(tmp_path) == ["judge: no schema", "judge: no seed"]
    assert len(threads) == 2 and threading.get_ident() not in threads
    asyncio.run(Notes(tmp_path, {"judge": Noted("a later start")}).keep())
    assert read(tmp_path) == ["judge: a later start", "judge: no schema", "judge: no seed"]
    asyncio.run(Notes(tmp_path / "none", {"judge": Noted()}).keep())
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("notes", [{"actor": "no schema"}, [3], "actor"])
def test_notes_of_another_shape_are_refused(tmp_path: Path, notes: object) -> None:
    (tmp_path / NOTES).write_text(json.dumps(notes), encoding="utf-8")
    with pytest.raises(ValueError, match=r"notes\.json must hold a list of texts .*Delete it"):
        notes_in(tmp_path)
