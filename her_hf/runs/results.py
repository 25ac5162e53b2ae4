"""Creates, writes and reads `results.json` of every evaluation; its model is in [`~her_hf.runs.envelope`].

Time and tokens are not in it but in `sessions.jsonl` and `notes.json` (see [`~her_hf.runs.starts`]), so a resumed run
writes the same bytes.
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
    "Run its command again with the same --out: the results are computed from the files in the folder, and no "
    "answered request is repeated. If that is refused as another run, this version asks models differently: choose "
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
    """The contents of `results.json`, validated against the model of the evaluation.

    Raises:
        `ValidationError`: If a field has another shape, which is a bug of the evaluation.
    """
    parts: Row = {"settings": dict(settings), "counts": counts, "missing": missing, "cases": list(cases)}
    parts |= {"figures": figures, "intervals": intervals, "version": VERSION, "evaluation": evaluation}
    found: Row = ENVELOPE.validate_python(parts).model_dump()
    return found


def missing_part(unit: str, expected: int, causes: Mapping[str, int], failures: Iterable[Row] = ()) -> Row:
    """`missing` of the envelope.

    Args:
        unit (`str`): The unit that is counted.
        expected (`int`): Expected number.
        causes (`Mapping[str, int]`): Number of missing ones by cause.
        failures (`Iterable[dict]`, *optional*): `key`, `cause` and `detail` of failed scenes, seeds, replies or pairs.
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
    """`data` of the settings: the data of the evaluation.

    Args:
        source (`str`): The file, folder or Hub dataset as given; empty if unknown. Of an absolute path only the last
            part is kept: results are published, and the way to a file names homes and machines.
        split (`str`, *optional*): Its split or language.
        units (`Sequence`): Key of each unit, with the digest of its text.
    """
    shown = f"…/{Path(source).name}" if Path(source).is_absolute() else source
    return {"source": shown, "split": split, "count": len(units), "digest": digest(list(units))}


def write_results(out: str | Path, results: Row) -> None:
    """Writes `results.json` into the folder of a run, atomically."""
    write_json(Path(out) / RESULTS, results)


def read_results(folder: str | Path, evaluation: str | None = None) -> Row:
    """Reads `results.json` of a run; another version or shape is an error.

    Args:
        folder (`str` or `Path`): The `--out` folder of an evaluation.
        evaluation (`str`, *optional*): The required evaluation; by default any.

    Returns:
        `dict`: The envelope.

    Raises:
        `FileNotFoundError`: If the folder has no results.
        `ValueError`: If the file is not JSON, has an older shape, another version or evaluation, or an invalid field.

    Example (not run: it needs a run):

    ```python
    >>> read_results("outputs/coser", "coser")["figures"]["scores"]["avg"]
    ```
    """
    file = Path(folder) / RESULTS
    if not file.is_file():
        raise FileNotFoundError(f"{folder} has no {RESULTS}: name the --out folder of a finished evaluation.")
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({str(error)[:120]}). {_AGAIN}") from error
    _check_kind(file, found, evaluation)
    try:
        read: Row = ENVELOPE.validate_json(file.read_bytes()).model_dump()
    except ValidationError as error:
        raise ValueError(f"{file} does not have the shape of version {VERSION}: {_shown(error)}. {_AGAIN}") from error
    return read


def _check_kind(file: Path, found: Any, wanted: str | None) -> None:
    """Raises an error unless this is an envelope of this version and evaluation."""
    known = get_args(Evaluation)
    if not isinstance(found, dict):
        raise ValueError(
            f"{file} must be a JSON object, got {type(found).__name__}: name the --out folder of an evaluation."
        )
    if "version" not in found:
        if not found.keys() & {"evaluation", "played", "missing"}:
            names = " or ".join(f"her-hf eval {name}" for name in known)
            raise ValueError(f"{file} has no results of {names}. Name the --out folder of one.")
        raise ValueError(f"{file} has no version: an older her_hf wrote it. {_AGAIN}")
    if found["version"] != VERSION:
        raise ValueError(
            f"{file} must have version {VERSION}, got {str(found['version'])[:20]}. Read it with the her_hf that "
            f"wrote it. Or: {_AGAIN}"
        )
    name = found.get("evaluation")
    if name not in known:
        raise ValueError(f"{file}: evaluation must be one of {list(known)}, got {str(name)[:40]!r}.")
    if wanted is not None and name != wanted:
        raise ValueError(
            f"{file} must have results of {wanted!r}, got {name!r}: name the --out folder of that evaluation."
        )


def _shown(error: ValidationError) -> str:
    """The first invalid fields with their values."""
    found = error.errors(include_url=False)
    shown = [
        f"field {'.'.join(map(str, one['loc'][1:]))}: {one['msg']}, got {repr(one['input'])[:60]}"
        for one in found[:SHOWN_ERRORS]
    ]
    more = len(found) - len(shown)
    return "; ".join([*shown, *([f"and {more} more"] if more else [])])
