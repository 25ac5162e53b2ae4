"""The command line of a recipe: its own settings first, TRL's behind them, and `--config FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_type_hints

from trl import TrlParser

_METAVARS = {int: "N", float: "X", str: "TEXT", bool: "true|false"}
"""Names of values of a type, as in `her-hf`."""


class RecipeParser(TrlParser):  # type: ignore[misc]
    """TRL's parser of settings from `--config` and the command line, with a help that a person can find things in.

    Options are grouped by the class that defines them, those of her_hf first. A negated option says so instead of
    repeating the help of the option.

    Args:
        kinds (`Sequence[type]`): The dataclasses of the settings.

    Example:

    ```python
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Speed:
    ...     steps: int = 3
    >>> RecipeParser([Speed]).parse_args_and_config(["--steps", "5"])
    (Speed(steps=5),)
    ```
    """

    def __init__(self, kinds: Sequence[type]) -> None:
        self.kinds = kinds
        self.sections: dict[type, Any] = {}
        super().__init__(
            kinds,
            allow_abbrev=False,  # an abbreviation would make a mistyped option another one: --one_pas of --one_pass
            usage="%(prog)s [--config FILE] [--OPTION VALUE ...]",
            description="Every option may stand in the YAML file of --config, without its dashes; the command line "
            "takes precedence.",
        )
        # Suppressed where it is not given: what remains in the namespace would be one more result.
        super().add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="YAML file of settings.")

    def add_argument(self, *names: str, **how: Any) -> Any:
        """Adds an option to the section of the class that defines its setting."""
        dest = how.get("dest") or names[0].lstrip("-")
        owner = _definer(self.kinds, dest)
        if owner is None:
            return super().add_argument(*names, **how)
        if not self.sections:
            for kind in _in_order(self.kinds):
                self.sections[kind] = self.add_argument_group(f"{kind.__name__} ({kind.__module__.split('.')[0]})")
        if how.get("action") == "store_false":
            how |= {"help": f"Same as --{dest} false.", "default": argparse.SUPPRESS}
        elif how.get("choices"):
            how["metavar"] = "|".join(map(str, how["choices"]))
        else:
            how["metavar"] = _metavar(get_type_hints(owner)[dest])
        if how.get("required"):
            how |= {"help": f"{how['help']} Required.", "default": argparse.SUPPRESS}
        return self.sections[owner].add_argument(*names, **how)

    def parse_args_and_config(self, args: Iterable[str] | None = None, **how: Any) -> tuple[Any, ...]:
        """See TRL's parser, which takes `--config FILE` out before it parses; `--config=FILE` is the same here."""
        words: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            words += word.split("=", 1) if word.startswith("--config=") else [word]
        if words.count("--config") > 1 or words[-1:] == ["--config"]:
            self.error("argument --config: expected one FILE")
        return tuple(super().parse_args_and_config(words, **how))


def _metavar(kind: Any) -> str:
    """Name of a value of a type, of an optional one, or of one value of a list."""
    named = {_METAVARS[one] for one in (kind, *get_args(kind)) if one in _METAVARS}
    return named.pop() if len(named) == 1 else "VALUE"


def _definer(kinds: Sequence[type], name: str) -> type | None:
    """The class that first defined a setting; a subclass may have given it another default and help."""
    found = [base for kind in kinds for base in kind.__mro__ if name in vars(base).get("__annotations__", {})]
    return found[-1] if found else None


def _in_order(kinds: Sequence[type]) -> list[type]:
    """All classes that define settings, those of her_hf first, and the nearest of the others next."""
    defined = [_definer(kinds, name) for kind in kinds for name in getattr(kind, "__dataclass_fields__", {})]
    bases = [base for kind in kinds for base in kind.__mro__ if base in defined]
    return sorted(dict.fromkeys(bases), key=lambda base: not base.__module__.startswith("her_hf."))
