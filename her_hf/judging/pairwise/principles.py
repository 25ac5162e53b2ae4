"""The library of principles: merits and defects of a role-play reply, each with a definition that a judge can apply.

The file `principles.yaml` is our own; the list that HER's reward model uses is not published. Names of the twelve
dimensions: HER (arXiv 2601.21459).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MIN_PRINCIPLES = 51
"""The number that HER reports; a library may have more."""


class Principle(BaseModel):
    """One principle.

    Args:
        key (`str`): Short name for data, such as `"assistant_voice"`.
        name (`str`): Name for people and prompts, such as `"Assistant Voice"`.
        dimension (`str`): Key of its dimension.
        polarity (`str`): `"positive"` for a merit, `"negative"` for a defect.
        level (`str`): `"sentence"` if one turn shows it, `"session"` if the turns before are needed.
        definition (`str`): What a judge looks for.
        keeps (`str`): A short example of keeping it; of a defect, one without it.
        breaks (`str`): A short example of breaking it; of a defect, one that shows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    key: str = Field(pattern=r"^[a-z][a-z_]*$")
    name: str = Field(min_length=1)
    dimension: str
    polarity: Literal["positive", "negative"]
    level: Literal["sentence", "session"]
    definition: str = Field(min_length=20)
    keeps: str = Field(min_length=5)
    breaks: str = Field(min_length=5)


class Principles(BaseModel):
    """A library of principles.

    Args:
        version (`int`): Increased when the meaning of a principle changes.
        dimensions (`dict[str, str]`): Key to name of each dimension.
        principles (`tuple[Principle, ...]`): The principles.

    Example:

    ```python
    >>> load_principles().named("Assistant Voice").polarity
    'negative'
    ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    dimensions: Mapping[str, str]
    principles: tuple[Principle, ...]

    @model_validator(mode="after")
    def _whole(self) -> Principles:
        for field in ("key", "name"):
            counts = Counter(str(getattr(principle, field)).casefold() for principle in self.principles)
            if twice := sorted(value for value, count in counts.items() if count > 1):
                raise ValueError(f"each {field} must be unique, repeated: {twice}")
        used = {principle.dimension for principle in self.principles}
        if unknown := sorted(used - self.dimensions.keys()):
            raise ValueError(f"dimensions must be among {sorted(self.dimensions)}, got {unknown}")
        if empty := sorted(self.dimensions.keys() - used):
            raise ValueError(f"each dimension needs a principle, got none for {empty}")
        if len(self.principles) < MIN_PRINCIPLES:
            raise ValueError(f"needs at least {MIN_PRINCIPLES} principles, got {len(self.principles)}")
        return self

    def of_dimension(self, dimension: str) -> list[Principle]:
        """The principles of one dimension, in order."""
        return [principle for principle in self.principles if principle.dimension == dimension]

    def keyed(self, key: str) -> Principle:
        """The principle with this key.

        Raises:
            `KeyError`: If there is none.
        """
        found = next((principle for principle in self.principles if principle.key == key), None)
        if found is None:
            raise KeyError(f"no principle has the key {key!r}; there are {[one.key for one in self.principles]}")
        return found

    def named(self, name: str) -> Principle | None:
        """The principle that a judge means by this name or key, in any case; `None` if it is not one of ours."""
        wanted = " ".join(name.replace("_", " ").split()).casefold()
        return next(
            (one for one in self.principles if wanted in (one.name.casefold(), one.key.replace("_", " "))), None
        )


@lru_cache(maxsize=8)
def load_principles(file: str | Path | None = None) -> Principles:
    """Reads and checks a library of principles.

    Args:
        file (`str` or `Path`, *optional*): A YAML file; our own if not given.

    Returns:
        [`Principles`]: The library.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If it is not such a library; the message names the file, the entry and what it must be.

    Example:

    ```python
    >>> len(load_principles().dimensions)
    12
    ```
    """
    source = Path(file) if file is not None else files(__package__) / "principles.yaml"
    text = source.read_text(encoding="utf-8")
    try:
        return Principles.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        got = f", got {str(first['input'])[:80]!r}" if first["loc"] else ""
        raise ValueError(
            f"{source} is not a library of principles: {where}: {first['msg']}{got}. Fix the entry "
            f"({error.error_count()} problems in all)."
        ) from error
