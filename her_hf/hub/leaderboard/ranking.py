"""Groups runs that are comparable, ranks them, and tests each against the best one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from her_hf.durable import digest
from her_hf.runs.paired import paired_tests
from her_hf.runs.report.headline import facts
from her_hf.runs.scores import KINDS, compared_settings

from .columns import BOARDS, Value
from .submissions import Entry

LEVEL = 0.05
"""Below this p-value, corrected for the number of tests in the group, a difference counts as significant."""


@dataclass(frozen=True)
class Ranked:
    """A row of a table.

    Args:
        entry ([`Entry`]): The run.
        values (`Mapping[str, Value]`): Its values by column.
        parts (`Mapping[str, Value]`): Its main value by book, language or kind.
        mark (`str`): `"best"`, `"same"` (not significantly below the best), `"below"`, `"untested"`, or `"alone"`.
        p_value (`float`, *optional*): Of the difference to the best, corrected; `None` for the best, or untested.
        pairs (`int`, *optional*): Complete pairs of that test.
    """

    entry: Entry
    values: Mapping[str, Value]
    parts: Mapping[str, Value]
    mark: str
    p_value: float | None = None
    pairs: int | None = None


@dataclass(frozen=True)
class Group:
    """Runs that were measured in the same way on the same data.

    Args:
        key (`str`): Identifies the group in the page.
        facts (`Sequence[tuple[str, str]]`): Judge, setting and data.
        rows (`Sequence[Ranked]`): Best first.
    """

    key: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[Ranked]


def rank(entries: Iterable[Entry], evaluation: str, *, resamples: int = 10_000) -> list[Group]:
    """The groups of one evaluation, the largest first.

    Runs are compared only if judges, their prompts, what they were shown, and the data are the same. In each group
    every run is tested against the best one with the paired permutation test of `her-hf eval compare`; p-values are
    corrected by Holm's method.

    Args:
        entries (`Iterable[Entry]`): All runs; those of other evaluations are ignored.
        evaluation (`str`): `"coser"`, `"minimax"`, `"form"` or `"reward"`.
        resamples (`int`, *optional*, defaults to 10000): Permutations per test.

    Raises:
        `ValueError`: If a model has two runs in a group.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.results["evaluation"] == evaluation:
            groups[_measure(entry)].append(entry)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_group(key, own, evaluation, resamples) for key, own in ordered]


def _measure(entry: Entry) -> str:
    """The digest of everything that must be equal for scores to be comparable."""
    kind, settings = KINDS[entry.results["evaluation"]], compared_settings(entry.results)
    bound = {name: settings.get(name) for name in (*kind.bound, "data")}
    judges = bound.get("judges")
    if isinstance(judges, list):
        bound["judges"] = sorted(map(digest, judges))
    return digest(bound)[:12]


def _group(key: str, entries: Sequence[Entry], evaluation: str, resamples: int) -> Group:
    _refuse_doubles(entries)
    board = BOARDS[evaluation]
    main = board.columns[0]
    values = {entry.place: board.values(entry.results) for entry in entries}

    def order(entry: Entry) -> tuple[bool, float, str]:
        value = values[entry.place][main.name].value
        return value is None, -(value or 0.0), entry.submission.model

    ordered = sorted(entries, key=order)
    tests = _against_best(ordered, evaluation, board.tested, resamples)
    rows = [Ranked(entry, values[entry.place], board.parts(entry.results), *tests[entry.place]) for entry in ordered]
    shared = [fact for fact in facts(ordered[0].results) if fact[0] in ("judge", "setting", "data")]
    return Group(key, shared, rows)


def _refuse_doubles(entries: Sequence[Entry]) -> None:
    places: dict[str, str] = {}
    for entry in entries:
        name = entry.submission.model
        if name in places:
            raise ValueError(
                f"{places[name]} and {entry.place} both hold results of {name} on the same data with the same "
                "settings: remove one, or give it another `model` in submission.yaml."
            )
        places[name] = entry.place


def _against_best(
    ordered: Sequence[Entry], evaluation: str, tested: str, resamples: int
) -> dict[str, tuple[str, float | None, int | None]]:
    """Mark, corrected p-value and number of pairs for each run, by its path."""
    kind = KINDS[evaluation]
    best, *others = ordered
    top = kind.scores(best.results)
    raw = {}
    for entry in others:
        found = paired_tests(kind, (top, kind.scores(entry.results)), names=[tested], resamples=resamples)[tested]
        raw[entry.place] = (found["p_value"], found["pairs"])
    corrected = holm({place: p for place, (p, _) in raw.items() if p is not None})
    marks: dict[str, tuple[str, float | None, int | None]] = {best.place: ("best" if others else "alone", None, None)}
    for place, (_, pairs) in raw.items():
        p = corrected.get(place)
        marks[place] = ("untested" if p is None else "below" if p < LEVEL else "same", p, pairs)
    return marks


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number by Holm's method.

    Example:

    ```python
    >>> holm({"a": 0.01, "b": 0.04})
    {'a': 0.02, 'b': 0.04}
    ```

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    corrected: dict[str, float] = {}
    highest = 0.0
    for at, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, (len(p_values) - at) * p))
        corrected[name] = highest
    return corrected
