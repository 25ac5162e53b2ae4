"""`results.json` of every evaluation, made, written and read in one place; its model is in [`~her_hf.runs.envelope`].

What a session spent is not in it but in `sessions.jsonl` and `notes.json` (see [`~her_hf.runs.starts`]), so that a run
that was resumed leaves the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from her_hf.durable import digest, write_json

from .envelope import ENVELOPE, VERSION, Evaluation
from .envelope.parts import Row

RESULTS = "results.json"
SHOWN_ERRORS = 3
_AGAIN = (
    "Run its command again with the same --out: everything in the folder is counted anew, and no model is asked again "
    "for an answer that is there. If that is refused as another run, this version asks models differently: choose "
    "another --out."
)


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
    found: Row = ENVELOPE.validate_python(parts).model_dump()
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

    Example (not run: it needs a run):

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
        read: Row = ENVELOPE.validate_json(file.read_bytes()).model_dump()
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
