"""Values of any shape in the typed columns of `evaluate`, and checks that name the position of a wrong value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from her_hf.scenes import Scene
from her_hf.scenes.seeds import Seed

Given = Mapping[str, Any]

NOT_GIVEN = {"cause": "not_given", "detail": ""}
"""The cause of a missing judgement that the caller did not give."""


class JsonColumns:
    """Lets an `evaluate` module accept values of any shape, which pass through its columns as JSON.

    A column has one type, which does not fit dialogues, scenes and flaws. Put this class before `evaluate.Metric`
    among the bases of a module with two columns of strings, `predictions` and `references`; `_compute` reads them with
    [`from_json`].
    """

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Adds a batch of predictions, with their references if there are any."""
        found, paired = to_json(predictions, references)
        super().add_batch(predictions=found, references=paired)  # type: ignore[misc]

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Adds one prediction, with its reference if there is one."""
        (found,), (paired,) = to_json([prediction], [reference])
        super().add(prediction=found, reference=paired)  # type: ignore[misc]


def metric_info(description: str, inputs: str, citation: str) -> Any:
    """The `evaluate.MetricInfo` of a module whose columns are those of [`JsonColumns`].

    Args:
        description, inputs, citation (`str`): Texts of the module.
    """
    import datasets
    import evaluate

    return evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=inputs,
        features=datasets.Features(dict.fromkeys(("predictions", "references"), datasets.Value("string"))),
        license="Apache-2.0",
    )


def to_json(predictions: Any, references: Any = None) -> tuple[list[str], list[str]]:
    """Both lists as lists of JSON texts; omitted references are `null`.

    Raises:
        `ValueError`: If one is not a list, the lists are empty or differ in length, or a value is not JSON.
    """
    found = _listed("predictions", predictions)
    paired = [None] * len(found) if references is None else _listed("references", references)
    same_length("predictions", found, "references", paired)
    return (
        [_dumped(f"predictions[{at}]", value) for at, value in enumerate(found)],
        [_dumped(f"references[{at}]", value) for at, value in enumerate(paired)],
    )


def from_json(texts: Iterable[str]) -> list[Any]:
    """Reads the texts of [`to_json`]."""
    return [json.loads(text) for text in texts]


def _listed(what: str, values: Any) -> list[Any]:
    if values is None or isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ValueError(f"{what} must be a list, got {type(values).__name__}; put a single one into a list.")
    found = list(values)
    if not found:
        raise ValueError(f"{what} must not be empty: there is nothing to score.")
    return found


def _dumped(where: str, value: Any) -> str:
    try:
        return json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be a JSON value ({error}): use lists, dicts, texts and numbers.") from None


def _plain(value: Any) -> Any:
    """Scenes and seeds as rows."""
    if isinstance(value, Scene | Seed):
        return value.model_dump(mode="json")
    raise TypeError(f"got {type(value).__name__}")


# -- checks


def parsed(where: str, value: Any) -> Any:
    """A value that may be given as JSON text.

    Raises:
        `ValueError`: If it is text that is not JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} must be JSON if it is a text, got {shown(value)} ({error}).") from None


def shown(value: Any) -> str:
    """A value short enough for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def same_length(first: str, one: Sequence[Any], second: str, other: Sequence[Any]) -> None:
    """Checks two lists whose items belong together.

    Raises:
        `ValueError`: If one is not a list, or their lengths differ.
    """
    for name, values in ((first, one), (second, other)):
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
            raise ValueError(f"{name} must be a list, got {type(values).__name__}.")
    if len(one) != len(other):
        raise ValueError(
            f"{first} and {second} must have the same length and order, got {len(one)} {first} and {len(other)} "
            f"{second}."
        )
