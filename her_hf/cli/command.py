"""How every command shows its help: values named in one style, whole paragraphs, no column of negations."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
"""Names of values of a type, for options without a better one."""


class Command(TyperCommand):
    """A command whose `--help` is in the style of all commands."""

    def __init__(self, *args: Any, help: str | None = None, **others: Any) -> None:
        super().__init__(*args, help=joined(help), **others)
        self._showing = False

    def get_params(self, ctx: Any) -> list[Any]:
        named = [_named(one, ctx) for one in super().get_params(ctx)]
        return [_without_negation(one) for one in named] if self._showing else named

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._showing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._showing = False


class Group(TyperGroup):
    """A group of commands whose `--help` is in the style of all commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_named(one, ctx) for one in super().get_params(ctx)]


def joined(text: str | None) -> str | None:
    r"""A help text without the line breaks of its source: only those between paragraphs and after `\` are kept.

    typer shows all others, in the middle of lines that the terminal breaks elsewhere.

    Example:

    ```python
    >>> joined("One line\nof a paragraph.\n\nher-hf judge \\\n    --out DIR")
    'One line of a paragraph.\n\nher-hf judge \\\n    --out DIR'
    ```
    """
    return text and re.sub(r"(?<![\\\n])\n(?!\n)\s*", " ", text)


def _named(param: Any, ctx: Any) -> Any:
    """The parameter with a name for its value, in place of the type that typer would show."""
    if isinstance(param, TyperArgument):
        param.display_type_rich = lambda ctx: None  # type: ignore[method-assign]  # its name is shown already
    elif isinstance(param, TyperOption) and param.metavar is None:
        kind = param.type_descriptor
        if param.is_flag:
            param.metavar = ""
        elif kind.is_choice:
            param.metavar = param.display_type(ctx).strip("<>")
        else:
            param.metavar = _METAVARS[kind.annotation]
    return param


def _without_negation(param: Any) -> Any:
    """A flag without its negation, which takes a column and is of no use, or is named by the help text.

    A flag that is off by default is negated only where a file switched it on, as the help of `--config` says.
    """
    if param.secondary_opts and (param.default is False or param.secondary_opts[0] in param.help):
        param = copy.copy(param)
        param.secondary_opts = []
    return param
