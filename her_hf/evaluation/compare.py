"""Two runs compared on the scenes or seeds that they share: is the difference more than chance?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from her_hf.durable import digest, whole_lines
from her_hf.scoring.coser import DIMENSIONS
from her_hf.scoring.minimax import COLUMNS, PILLARS, Columns, overall, pillars, seed_columns
from her_hf.scoring.statistics import bootstrap_interval, paired_permutation_test

from .rows import Row, scene_key

Scores = dict[tuple[Any, ...], dict[str, float | None]]
"""By scene or seed its scores by name; a scene without a score of any kind has an empty entry."""

RESULTS, DIALOGUES = "results.json", "dialogues.jsonl"
_SCALE = ("penalties", "weights")  # of reenactment: they stand beside the settings, for nobody can choose them


class OtherMeasureError(ValueError):
    """The two runs were not measured alike, so their scores do not compare."""


@dataclass(frozen=True)
class Kind:
    """How runs of one evaluation are compared.

    Args:
        unit (`str`): What both are tested on.
        player (`str`): The setting that names the model under test.
        bound (`Sequence[str]`): Settings that must be equal, or the scores mean different things.
        names (`Sequence[str]`): The scores, the one over all last.
        scores (`Callable`): Reads them out of `results.json`.
        key (`Callable`): What identifies the unit of a row of `dialogues.jsonl`.
        text (`str`): The field of such a row that holds the digest of what was played.
    """

    unit: str
    player: str
    bound: Sequence[str]
    names: Sequence[str]
    scores: Callable[[Row], Scores]
    key: Callable[[Row], tuple[Any, ...]]
    text: str


def compare_runs(
    first: Path, second: Path, *, resamples: int = 10_000, seed: int = 0, force: bool = False
) -> dict[str, Any]:
    """Compares two runs, unit by unit, with a paired permutation test for each score.

    A unit is a scene of CoSER, known by (book, i_p, i_c), or a seed of reenactment with the mean over its runs.

    Args:
        first (`Path`): Output folder of a run.
        second (`Path`): Output folder of the other run, of the same evaluation.
        resamples (`int`, *optional*, defaults to 10000): Swaps that a test draws, and tables that an interval does.
        seed (`int`, *optional*, defaults to 0): Seed of the draws.
        force (`bool`, *optional*, defaults to `False`): Whether to compare runs that were measured differently.

    Returns:
        `dict`: `evaluation`, `unit`, `first` and `second` (`folder`, `model`), `shared`, `only_first`, `only_second`
            (units), `objections` (why the comparison would have been refused without `force`), `other_settings` (that
            differ, both values), `resamples`, `seed`, and `tests`: by score `first` and `second` (means over the
            complete pairs), `difference` (first minus second), `interval` (95%, bootstrap over units), `p_value`
            (two-sided), `pairs`, `dropped` (units without a score on both sides). Without a complete pair only the
            counts are numbers.

    Raises:
        `FileNotFoundError`: If a folder holds no results.
        `ValueError`: If results cannot be read or were not judged, are of two evaluations, or share no unit.
        [`OtherMeasureError`]: If judges differ, or what they were shown, or the text of a shared unit; not if forced.

    Example:

    ```python
    >>> compare_runs(Path("outputs/her-sft"), Path("outputs/base"))["tests"]["avg"]["p_value"]
    ```
    """
    sides = [_read(Path(folder)) for folder in (first, second)]
    kind_name, kind = _kind_of(sides, (first, second))
    scores = [kind.scores(side) for side in sides]
    shared = [key for key in scores[0] if key in scores[1]]
    if not shared:
        raise ValueError(f"{first} and {second} share no {kind.unit}: compare runs of the same {kind.unit}s.")
    settings = [{**side["settings"], **{name: side[name] for name in _SCALE if name in side}} for side in sides]
    objections = [*_objections(kind, settings), *_other_texts(kind, (first, second), shared)]
    if objections and not force:
        raise OtherMeasureError(
            f"{first} and {second} do not compare: {'; '.join(objections)}. Judge both alike (--judge-only), or force "
            "the comparison (--force), which says so."
        )
    units = [*scores[0], *(key for key in scores[1] if key not in scores[0])]
    return {
        "evaluation": kind_name,
        "unit": kind.unit,
        **{
            name: {"folder": str(folder), "model": _model(known.get(kind.player))}
            for name, folder, known in zip(("first", "second"), (first, second), settings, strict=True)
        },
        "shared": len(shared),
        "only_first": len(scores[0]) - len(shared),
        "only_second": len(scores[1]) - len(shared),
        "objections": objections,
        "other_settings": _other_settings(kind, settings),
        "resamples": resamples,
        "seed": seed,
        "tests": {name: _test(name, units, scores, resamples, seed) for name in kind.names},
    }


def _test(name: str, units: Sequence[tuple[Any, ...]], scores: Sequence[Scores], resamples: int, seed: int) -> Row:
    """The paired test of one score."""
    one, other = ([side.get(unit, {}).get(name) for unit in units] for side in scores)
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not pairs:
        nothing = dict.fromkeys(("first", "second", "difference", "interval", "p_value"), None)
        return {**nothing, "pairs": 0, "dropped": len(units)}
    found = paired_permutation_test(one, other, resamples=resamples, seed=seed)
    ends = bootstrap_interval([a - b for a, b in pairs], resamples=resamples, seed=seed)
    return {
        "first": fmean(a for a, _ in pairs),
        "second": fmean(b for _, b in pairs),
        **found._asdict(),
        "interval": list(ends) if ends else None,
    }


# -- what a folder holds


def _read(folder: Path) -> Row:
    file = folder / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {RESULTS}: name the --out folder of an evaluation that has ended.")
    try:
        results: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}). Run the evaluation again; it goes on where it was.") from error
    if not isinstance(results, dict) or not {"settings", "played"} <= results.keys():
        raise ValueError(f"{file} holds no results of `her-hf eval coser` or `her-hf eval minimax`.")
    if "scores" not in results:
        raise ValueError(f"{folder} was played, but not judged: judge it first (--judge-only).")
    return results


def _kind_of(sides: Sequence[Row], folders: Sequence[Path]) -> tuple[str, Kind]:
    one, other = (str(side.get("evaluation", "coser")) for side in sides)
    if one != other:
        raise ValueError(f"{folders[0]} is of the evaluation {one!r} and {folders[1]} of {other!r}: name two of one.")
    if one not in KINDS:
        raise ValueError(f"runs of {sorted(KINDS)} can be compared, got {one!r}.")
    return one, KINDS[one]


def _coser_scores(results: Row) -> Scores:
    """Scores of each scene; one that could not be played has none."""
    cases: Scores = {scene_key(row): {} for row in results["played"]["failed"]}
    return cases | {scene_key(case): {name: case[name] for name in (*DIMENSIONS, "avg")} for case in results["cases"]}


def _minimax_scores(results: Row) -> Scores:
    """Scores of each seed, means over its runs."""
    runs: dict[str, list[Columns | None]] = {}
    keys = {}
    for case in results["cases"]:
        key = _seed_key(case)
        keys[repr(key)] = key
        runs.setdefault(repr(key), []).append(case["columns"])
    found = seed_columns(runs)
    return {
        key: {**columns, **pillars(columns), "overall": overall(columns)} if (columns := found[name]) else {}
        for name, key in keys.items()
    }


def _seed_key(row: Row) -> tuple[str, str]:
    return str(row["language"]), str(row["seed_id"])


KINDS = {
    "coser": Kind(
        "scene",
        "actor",
        ("judge_thoughts", "judges", "judge_prompts"),
        (*DIMENSIONS, "avg"),
        _coser_scores,
        scene_key,
        "scene_digest",
    ),
    "minimax": Kind(
        "seed",
        "npc",
        ("judge", "judge_chunk", "judge_prompts", *_SCALE),
        (*COLUMNS, *PILLARS, "overall"),
        _minimax_scores,
        _seed_key,
        "seed_digest",
    ),
}
"""By the name of the evaluation."""


# -- whether the two may be compared


def _objections(kind: Kind, settings: Sequence[Row]) -> list[str]:
    """The bound settings that differ."""
    return [
        f"{name} differs ({_said(one)} against {_said(other)})"
        for name in kind.bound
        if not _equal(one := settings[0].get(name), other := settings[1].get(name))
    ]


def _other_settings(kind: Kind, settings: Sequence[Row]) -> dict[str, list[Any]]:
    """All other settings that differ, with both values; that the models under test do is the point."""
    names = sorted((settings[0].keys() | settings[1].keys()) - {kind.player, *kind.bound})
    values = {name: [known.get(name) for known in settings] for name in names}
    return {name: both for name, both in values.items() if not _equal(*both)}


def _equal(one: object, other: object) -> bool:
    """Whether two settings are the same; the order of judges does not matter."""
    if isinstance(one, list) and isinstance(other, list):
        return sorted(map(digest, one)) == sorted(map(digest, other))
    return one == other


def _other_texts(kind: Kind, folders: Sequence[Path], shared: Sequence[tuple[Any, ...]]) -> list[str]:
    """An objection if shared units were played from different texts, as far as the dialogues say."""
    one, other = (_texts(kind, Path(folder) / DIALOGUES) for folder in folders)
    differing = [key for key in shared if one.get(key) and other.get(key) and one[key] != other[key]]
    if not differing:
        return []
    return [f"{len(differing)} of {len(shared)} shared {kind.unit}s, such as {differing[0]}, have another text"]


def _texts(kind: Kind, file: Path) -> dict[tuple[Any, ...], object]:
    """By unit the digest of what was played; nothing if the file is not there or does not say."""
    if not file.is_file():
        return {}
    rows = map(json.loads, filter(str.strip, whole_lines(file)))
    return {kind.key(row): row.get(kind.text) for row in rows}


def _model(fingerprint: object) -> str:
    return str(fingerprint.get("model") if isinstance(fingerprint, Mapping) else fingerprint or "not recorded")


def _said(value: object) -> str:
    """A setting's value in a message: of models the names, and the parts that tell those of one name apart."""
    if isinstance(value, list):
        return " and ".join(map(_said, value)) or "none"
    if isinstance(value, Mapping) and "model" in value:
        parts = ", ".join(f"{name} {str(part)[:12]}" for name, part in sorted(value.items()) if name != "model")
        return f"{value['model']!r}{f' ({parts})' if parts else ''}"
    return repr(value)[:80]
