"""The result envelope: the model of what `results.json` of every evaluation holds.

Each field is explained in `docs/results.md`; `docs/results_schema.json` is the JSON schema of [`results_schema`].
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from .coser import CoserResults
from .form import FormResults
from .minimax import MinimaxResults
from .parts import Row
from .reward import RewardResults

VERSION = 1
"""Of the envelope; results of another version are refused."""

Evaluation = Literal["coser", "minimax", "form", "reward"]

ENVELOPE: TypeAdapter[Any] = TypeAdapter(
    Annotated[CoserResults | MinimaxResults | FormResults | RewardResults, Field(discriminator="evaluation")]
)


def results_schema() -> Row:
    """The JSON schema of `results.json`."""
    return {**ENVELOPE.json_schema(), "title": f"results.json of her_hf, version {VERSION}"}
