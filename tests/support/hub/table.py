"""What a push asks of the Hub under each fault, as a table: `python -m tests.support.hub.table`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest

from her_hf.hub.client import HubError
from her_hf.hub.push import push
from tests.support.hub.cases import PUSHES, Case
from tests.support.hub.client import use
from tests.support.hub.server import Request, stand_in
from tests.support.pushed import model_folder, space_folder

_HEAD = ("fault", "requests, 200 where nothing else is said", "waits, s", "outcome", "the same push again")


def fault_table(folder: Path) -> str:
    """Pushes a small folder under each fault, and again without one.

    Args:
        folder (`Path`): Empty folder for what is pushed.

    Returns:
        `str`: A table in Markdown: requests, seconds waited between them, outcome, and what a second push sends.
    """
    rows = [_HEAD, ("---",) * len(_HEAD), *(_row(case, folder / str(number)) for number, case in enumerate(PUSHES))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(case: Case, folder: Path) -> tuple[str, ...]:
    kind = "space" if case.space else "model"
    source = (space_folder if case.space else model_folder)(folder / "it")
    with pytest.MonkeyPatch.context() as monkeypatch, stand_in() as hub:
        waits = use(hub, folder / "home", monkeypatch)
        monkeypatch.setattr("her_hf.hub.client.time", SimpleNamespace(sleep=waits.append))
        hub.plan.add(*case.faults())
        try:
            outcome = f"{len(push(kind, source, 'me/her-small').sent)} files pushed"
        except HubError as error:
            outcome = str(error).replace("|", "\\|")
        first, waited = list(hub.journal), sum(waits)
        hub.plan.clear()
        again = f"{len(push(kind, source, 'me/her-small').sent)} files sent"
        commits = len(hub.repository("me/her-small", kind).commits) - 1
    return case.name, _requests(first), f"{waited:g}", outcome, f"{again}; commits in all: {commits}"


def _requests(journal: Sequence[Request]) -> str:
    """The steps in order; those that are repeated at once are counted."""
    steps = [entry.step + ("" if entry.result == "200" else f" **{entry.result}**") for entry in journal]
    counted = [(step, len(list(same))) for step, same in groupby(steps) if step != "registry"]
    return ", ".join(step if number == 1 else f"{step} ×{number}" for step, number in counted)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(fault_table(Path(place)), end="")
