"""Significance tests of the difference between two runs on the scenes or seeds that they share.

Scores are estimated as in the reports, but over complete pairs only: CoSER's average is the mean of the four
dimensions' means over scenes, form shares are over replies, minimax scores are means over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.durable import digest
from her_hf.journal import read_rows
from her_hf.runs.paired import paired_tests
from her_hf.runs.report.headline import player_of
from her_hf.runs.results import read_results
from her_hf.runs.scores import KINDS, Kind, compared_settings, shared_judges

from .rows import Row


class OtherMeasureError(ValueError):
    """The two runs were measured under different settings, so their scores are not comparable."""


def compare_runs(
    first: Path, second: Path, *, resamples: int = 10_000, seed: int = 0, force: bool = False
) -> dict[str, Any]:
    """Compares two runs with a paired permutation test for each score.

    A unit is a CoSER scene, identified by (book, i_p, i_c), a minimax seed with the mean over its runs, for form a
    scene with the replies to its turns, or for reward a pair.

    Args:
        first (`Path`): Output folder of a run.
        second (`Path`): Output folder of the other run, of the same evaluation.
        resamples (`int`, *optional*, defaults to 10000): Permutations per test, and bootstrap samples per interval.
        seed (`int`, *optional*, defaults to 0): Random seed of both.
        force (`bool`, *optional*, defaults to `False`): Whether to compare runs that were measured under different
            settings.

    Returns:
        `dict`: `evaluation`, `unit`, `counted` (the kind of pair), `first` and `second` (`folder`, and `model`:
            the model under test, or the file of existing dialogues),
            `shared`, `only_first`, `only_second` (numbers of units), `objections` (why the comparison would have been
            refused without `force`), `other_settings` (that differ, both values), `resamples`, `seed`, and `tests`.
            For each score, `tests` has `first` and `second` (estimated over the complete pairs), `difference` (first
            minus second), `interval` (95%, bootstrap over units), `p_value` (two-sided), `pairs`, and `dropped`
            (pairs that lack a score in either run). Without enough complete pairs only the counts are numbers. With
            several judges, `by_judge` has the same tests on the scores of each judge.

    Raises:
        `FileNotFoundError`: If a folder holds no results.
        `ValueError`: If results cannot be read (an older shape, another version), were not judged, are of different
            evaluations, or share no unit.
        [`OtherMeasureError`]: If the judges, what they were shown, or the text of a shared unit differ; not if forced.

    Example (not run: it needs two runs):

    ```python
    >>> compare_runs(Path("outputs/her-sft"), Path("outputs/base"))["tests"]["avg"]["p_value"]
    ```
    """
    sides = [_read(Path(folder)) for folder in (first, second)]
    kind_name, kind = _kind_of(sides, (first, second))
    scores = tuple(kind.scores(side) for side in sides)
    shared = [key for key in scores[0] if key in scores[1]]
    if not shared:
        raise ValueError(f"{first} and {second} share no {kind.unit}: compare runs of the same {kind.unit}s.")
    settings = [compared_settings(side) for side in sides]
    objections = [*_objections(kind, settings), *_other_texts(kind, (first, second), shared)]
    if objections and not force:
        raise OtherMeasureError(
            f"{first} and {second} are not comparable: {'; '.join(objections)}. Judge both with the same settings "
            "(--judge-only), or compare anyway (--force); the output then states the differences."
        )
    by_judge = {
        judge: paired_tests(kind, (one, other), resamples=resamples, seed=seed)
        for judge, (one, other) in shared_judges(sides).items()
    }
    return {
        "evaluation": kind_name,
        "unit": kind.unit,
        "counted": kind.counted,
        **{
            name: {"folder": str(folder), "model": player_of(side)}
            for name, folder, side in zip(("first", "second"), (first, second), sides, strict=True)
        },
        "shared": len(shared),
        "only_first": len(scores[0]) - len(shared),
        "only_second": len(scores[1]) - len(shared),
        "objections": objections,
        "other_settings": _other_settings(kind, settings),
        "resamples": resamples,
        "seed": seed,
        "tests": paired_tests(kind, scores, resamples=resamples, seed=seed),
        **({"by_judge": by_judge} if by_judge else {}),
    }


# -- reading the runs


def _read(folder: Path) -> Row:
    results = read_results(folder)
    name = results["evaluation"]
    if name not in KINDS:
        raise ValueError(f"{folder} has results of {name!r}: only runs of {sorted(KINDS)} can be compared.")
    if name == "form" and not results["cases"]:
        raise ValueError(
            f"{folder} has no reply: all are missing. Run the evaluation again, which repeats the failed requests."
        )
    if name in ("coser", "minimax") and results["figures"]["scores"] is None:
        raise ValueError(
            f"{folder} has no scores, because its dialogues were not judged: judge them first (--judge-only)."
        )
    return results


def _kind_of(sides: Sequence[Row], folders: Sequence[Path]) -> tuple[str, Kind]:
    one, other = (str(side["evaluation"]) for side in sides)
    if one != other:
        raise ValueError(
            f"{folders[0]} is a run of {one!r} and {folders[1]} of {other!r}: name two runs of the same evaluation."
        )
    return one, KINDS[one]


# -- comparability


def _objections(kind: Kind, settings: Sequence[Row]) -> list[str]:
    """The settings that must be equal but differ."""
    return [
        f"{name} differs ({_shown(one)} and {_shown(other)})"
        for name in kind.bound
        if not _equal(one := settings[0].get(name), other := settings[1].get(name))
    ]


def _other_settings(kind: Kind, settings: Sequence[Row]) -> dict[str, list[Any]]:
    """All other settings that differ, with both values, except the model under test."""
    names = sorted((settings[0].keys() | settings[1].keys()) - {kind.player, *kind.bound})
    values = {name: [known.get(name) for known in settings] for name in names}
    return {name: both for name, both in values.items() if not _equal(*both)}


def _equal(one: object, other: object) -> bool:
    """Whether two settings are equal, regardless of the order of judges."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(digest, one)) == sorted(map(digest, other))
    return one == other


def _other_texts(kind: Kind, folders: Sequence[Path], shared: Sequence[tuple[Any, ...]]) -> list[str]:
    """An objection if shared units have different texts, where the dialogues record their digest."""
    one, other = (_texts(kind, Path(folder) / kind.file) for folder in folders)
    differing = [key for key in shared if one.get(key) and other.get(key) and one[key] != other[key]]
    if not differing:
        return []
    return [f"{len(differing)} of {len(shared)} shared {kind.unit}s, such as {differing[0]}, have different texts"]


def _texts(kind: Kind, file: Path) -> dict[tuple[Any, ...], object]:
    """The digest of the text of each unit; empty if the file does not exist or lacks it."""
    if not file.is_file():
        return {}
    return {kind.key(row): row.get(kind.text) for _, row in read_rows(file, key=kind.key)}


def _shown(value: object) -> str:
    """A setting's value for a message: names of models, with the parts that distinguish models of the same name."""
    if isinstance(value, list):
        return " and ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping) and "model" in value:
        parts = ", ".join(f"{name} {str(part)[:12]}" for name, part in sorted(value.items()) if name != "model")
        return f"{value['model']!r}{f' ({parts})' if parts else ''}"
    return repr(value)[:80]
