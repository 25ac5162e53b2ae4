"""The result envelope: what `results.json` of every evaluation holds, written and read in one place.

What a session spent is not in it but in `sessions.jsonl` and `notes.json` (see [`~her_hf.runs.starts`]), so that a run
that was resumed leaves the same bytes. Each field is explained in `docs/results.md`; `docs/results_schema.json` is the
JSON schema of [`results_schema`].
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from her_hf.durable import digest, write_json

RESULTS = "results.json"
VERSION = 1
"""Of the envelope; results of another version are refused."""

Evaluation = Literal["coser", "minimax", "form", "reward"]
Row = dict[str, Any]
Counts = dict[str, int]
Scores = dict[str, float | None]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)] | None
"""Both ends of a 95% interval; `None` where there is too little to draw from."""

SHOWN_ERRORS = 3
_AGAIN = (
    "Run its command again with the same --out: everything in the folder is counted anew, and no model is asked again "
    "for an answer that is there."
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


# -- what all evaluations share


class Failure(_Part):
    """Why something could not be had."""

    key: list[str | int]
    """What identifies it, as in its row of the run's JSONL file."""
    cause: str
    detail: str


class MissingPart(_Part):
    """What could not be had. It is left out of every figure, and no number stands for it."""

    unit: Literal["dialogue", "judgement", "reply"]
    """What is counted here."""
    expected: int
    missing: int
    share: float
    by_cause: Counts
    failures: list[Failure]
    """Scenes, seeds, replies or pairs that failed as a whole, in their order."""


class _Envelope(_Part):
    version: Literal[1]
    settings: Row
    """How it was played and judged, and on what data (`data`: source, split, count, digest)."""
    missing: MissingPart


# -- coser


class CoserJudged(_Part):
    """Counts of what judges said."""

    scored: Counts
    """By dimension, scenes with a score."""
    unscored: Counts
    left_out: Counts
    """By dimension, scenes that only some of several judges scored."""
    missing_by_dimension: Counts
    repaired: int
    flaws: dict[str, dict[str, Counts]]
    """By dimension, type and severity."""
    flaws_without_severity: int
    flaws_of_another_type: int


class CoserCounts(_Part):
    """What was played."""

    scenes: int
    turns: int
    character_turns: int
    ended_by: Counts
    next_speaker_named: int
    next_speaker_drawn: int
    empty_turns: int
    asked_again: int
    cut_where_another_speaks: int
    turns_dropped_to_fit: int
    not_ended_by_model: int
    judged: CoserJudged | None


class CoserGroup(_Part):
    """Scores of some of the scenes, or by one judge."""

    scores: Scores
    cases: Counts
    missing: Counts


class CoserFigures(_Part):
    """Scores, and what needs no judge; scores are `None` where nobody judged."""

    scores: Scores | None
    by_judge: dict[str, CoserGroup] | None
    by_tag: dict[str, CoserGroup] | None
    by_book: dict[str, CoserGroup] | None
    agreement: Row | None
    """Krippendorff's alpha and the mean difference by dimension; `None` with one rater."""
    overlap: Scores
    form: Row | None


class CoserCase(_Part):
    """One scene that was played to its end."""

    key: list[str | int]
    tag: str
    language: str
    character_turns: int
    bleu: float | None
    rouge_l: float | None
    SC: float | None
    AN: float | None
    CF: float | None
    SQ: float | None
    avg: float | None
    judges: dict[str, Scores]


class CoserResults(_Envelope):
    """Results of `her-hf eval coser`."""

    evaluation: Literal["coser"]
    counts: CoserCounts
    figures: CoserFigures
    intervals: dict[str, Interval] | None
    cases: list[CoserCase]


# -- minimax


class MinimaxJudged(_Part):
    """Counts of what was judged."""

    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    errors: dict[str, Counts]
    """By column and severity."""
    repaired: int
    quotes_not_found: int
    errors_without_severity: int


class MinimaxCounts(_Part):
    """What was played."""

    seeds: int
    sessions: int
    turns: int
    ended_by: Counts
    empty_turns: Counts
    asked_again: int
    sessions_with_dropped_turns: Counts
    judged: MinimaxJudged | None


class MinimaxScores(_Part):
    """Scores of all or some seeds."""

    overall: float | None
    pillars: Scores | None
    columns: Scores | None


class MinimaxIntervals(_Part):
    """95% intervals over seeds."""

    overall: Interval
    pillars: dict[str, Interval]
    columns: dict[str, Interval]


class CurvePoint(_Part):
    """Quality of one stretch of turns."""

    first_turn: int
    last_turn: int
    mean: float | None
    n: int


class MinimaxLanguage(_Part):
    """One language."""

    scores: MinimaxScores
    intervals: MinimaxIntervals
    seeds: int
    missing_seeds: int
    sessions: int
    missing_sessions: int
    curve: list[CurvePoint]


class MinimaxFigures(_Part):
    """Scores; all of it is `None` where nobody judged."""

    scores: MinimaxScores | None
    by_language: dict[str, MinimaxLanguage] | None
    curve: list[CurvePoint] | None


class MinimaxCase(_Part):
    """One dialogue."""

    language: str
    seed_id: str
    run: int
    ended_by: str
    turns: int
    overall: float | None
    columns: dict[str, float] | None
    chunks: list[float | None]


class MinimaxResults(_Envelope):
    """Results of `her-hf eval minimax`."""

    evaluation: Literal["minimax"]
    counts: MinimaxCounts
    figures: MinimaxFigures
    intervals: MinimaxIntervals | None
    cases: list[MinimaxCase]


# -- form


class FormCounts(_Part):
    """What was measured."""

    replies: int
    patterns: Counts
    """Replies with each order of layers."""


class FormCase(_Part):
    """One reply."""

    key: list[str | int]
    character: str
    well_formed: bool
    own_role: bool
    ended: bool
    visible: bool
    pattern: str
    issues: list[str]
    spoken_thoughts: list[str]
    knows_secret: bool | None
    leak: bool


class FormResults(_Envelope):
    """Results of `her-hf eval form`; without a reply there are no figures."""

    evaluation: Literal["form"]
    counts: FormCounts
    figures: Row | None
    intervals: Row | None
    cases: list[FormCase]


# -- reward


class RewardCounts(_Part):
    """What was judged."""

    pairs: int
    """Pairs with a label and a verdict."""
    orders: int
    repaired: int | None
    first_unreadable: int | None


class RewardGroup(_Part):
    """Some of the pairs."""

    accuracy: float | None
    interval: Interval
    half_credit: float | None
    position_consistency: float | None
    pairs: int


class RewardFigures(_Part):
    """Against the labels; `None` where no pair counts."""

    accuracy: float | None
    accuracy_decided: float | None
    half_credit: float | None
    ties: Scores
    position_consistency: float | None
    first_position: float | None
    per_order_accuracy: float | None
    first_unreadable_share: float | None
    agreement: Scores
    calibration: Row
    by_kind: dict[str, RewardGroup]
    by_group: dict[str, RewardGroup]
    by_source: dict[str, RewardGroup]
    by_length: dict[str, RewardGroup]


class RewardCase(_Part):
    """One pair."""

    key: list[str | int]
    label: str | None
    verdict: str | None
    orders: list[str | None]
    confidence: float | None
    kind: str | None
    source: str | None
    length: str | None


class RewardResults(_Envelope):
    """Results of `her-hf eval reward`."""

    evaluation: Literal["reward"]
    counts: RewardCounts
    figures: RewardFigures
    intervals: dict[str, Interval]
    cases: list[RewardCase]


_RESULTS: TypeAdapter[Any] = TypeAdapter(
    Annotated[CoserResults | MinimaxResults | FormResults | RewardResults, Field(discriminator="evaluation")]
)


def results_schema() -> Row:
    """The JSON schema of `results.json`."""
    return {**_RESULTS.json_schema(), "title": f"results.json of her_hf, version {VERSION}"}


# -- making, writing, reading


def envelope(
    evaluation: Evaluation,
    *,
    settings: Mapping[str, Any],
    counts: Row,
    missing: Row,
    figures: Row | None,
    intervals: Row | None,
    cases: Sequence[Row],
) -> Row:
    """The contents of `results.json`, checked against the model of the evaluation.

    Raises:
        `ValidationError`: If something has another shape, which is a fault of the evaluation.
    """
    parts: Row = {"settings": dict(settings), "counts": counts, "missing": missing, "cases": list(cases)}
    parts |= {"figures": figures, "intervals": intervals, "version": VERSION, "evaluation": evaluation}
    found: Row = _RESULTS.validate_python(parts).model_dump()
    return found


def missing_part(unit: str, expected: int, causes: Mapping[str, int], failures: Iterable[Row] = ()) -> Row:
    """`missing` of the envelope.

    Args:
        unit (`str`): What is counted.
        expected (`int`): How many there were to be.
        causes (`Mapping[str, int]`): How many are missing, by cause.
        failures (`Iterable[dict]`, *optional*): `key`, `cause` and `detail` of what failed as a whole.
    """
    missing = Counter(causes).total()
    return {
        "unit": unit,
        "expected": expected,
        "missing": missing,
        "share": missing / expected if expected else 0.0,
        "by_cause": dict(sorted(causes.items())),
        "failures": list(failures),
    }


def data_of(source: str, split: str | None, units: Sequence[Any]) -> Row:
    """`data` of the settings: what was evaluated on.

    Args:
        source (`str`): The file, folder or Hub dataset as it was given; empty if that is not known.
        split (`str`, *optional*): Its split or language.
        units (`Sequence`): What identifies each unit, with the digest of its text.
    """
    return {"source": source, "split": split, "count": len(units), "digest": digest(list(units))}


def write_results(out: str | Path, results: Row) -> None:
    """Writes `results.json` into the folder of a run, in one move."""
    write_json(Path(out) / RESULTS, results)


def read_results(folder: str | Path, evaluation: str | None = None) -> Row:
    """Reads `results.json` of a run; what is not of this version and shape is refused.

    Args:
        folder (`str` or `Path`): The `--out` folder of an evaluation.
        evaluation (`str`, *optional*): Which evaluation it must be of; any if not given.

    Returns:
        `dict`: The envelope.

    Raises:
        `FileNotFoundError`: If the folder has none.
        `ValueError`: If it is no JSON, of an older shape, of another version or evaluation, or has a wrong field.

    Example:

    ```python
    >>> read_results("outputs/coser", "coser")["figures"]["scores"]["avg"]
    ```
    """
    file = Path(folder) / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {RESULTS}: name the --out folder of an evaluation that has ended.")
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({str(error)[:120]}). {_AGAIN}") from error
    _check_kind(file, found, evaluation)
    try:
        read: Row = _RESULTS.validate_json(file.read_bytes()).model_dump()
    except ValidationError as error:
        raise ValueError(f"{file} does not have the shape of version {VERSION}: {_said(error)}. {_AGAIN}") from error
    return read


def _check_kind(file: Path, found: Any, wanted: str | None) -> None:
    """Refuses what is no envelope, or another one."""
    known = get_args(Evaluation)
    if not isinstance(found, dict):
        raise ValueError(f"{file} must hold an object, got {type(found).__name__}: it is of no evaluation.")
    if "version" not in found:
        if not found.keys() & {"evaluation", "played", "missing"}:
            names = " or ".join(f"her-hf eval {name}" for name in known)
            raise ValueError(f"{file} holds no results of {names}. Name the --out folder of one.")
        raise ValueError(f"{file} was written by an older her_hf, before results had a version. {_AGAIN}")
    if found["version"] != VERSION:
        raise ValueError(
            f"{file} has version {str(found['version'])[:20]}, this her_hf reads version {VERSION}. Read it with the "
            f"her_hf that wrote it. Or: {_AGAIN}"
        )
    name = found.get("evaluation")
    if name not in known:
        raise ValueError(f"{file}: evaluation must be one of {list(known)}, got {str(name)[:40]!r}.")
    if wanted is not None and name != wanted:
        raise ValueError(f"{file} is of the evaluation {name!r}, not of {wanted!r}: name a folder of that one.")


def _said(error: ValidationError) -> str:
    """The first fields that are wrong, with what stands there."""
    found = error.errors(include_url=False)
    shown = [
        f"field {'.'.join(map(str, one['loc'][1:]))}: {one['msg']}, got {repr(one['input'])[:60]}"
        for one in found[:SHOWN_ERRORS]
    ]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])
