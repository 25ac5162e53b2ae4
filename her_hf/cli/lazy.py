"""Commands that are imported when they are called, so that `her-hf --help` imports none of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.main import get_command

from .command import Command, Group

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class LazyGroup(Group):
    """A group that lists its commands without importing them; a module is imported when its command is called."""

    commands_at: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """Commands with (`module:name`, first line of help), in the order of `--help`."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        # What `--help` lists, and what a mistyped command is compared with.
        self.commands = {name: Command(name, help=line) for name, (_, line) in self.commands_at.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands_at)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands_at:
            return None
        if getattr(self, "_listing", False):
            return self.commands[cmd_name]
        module, _, name = self.commands_at[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            command = get_command(found)
        else:
            single = typer.Typer(pretty_exceptions_show_locals=False, add_completion=False, context_settings=SETTINGS)
            single.command(cmd_name, cls=Command)(found)
            command = get_command(single)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def group_of(commands: Mapping[str, tuple[str, str]], about: str, *, completion: bool = False) -> typer.Typer:
    """An app whose commands are imported when they are called.

    Args:
        commands (`Mapping[str, tuple[str, str]]`): Commands with (`module:name`, first line of help); the name is
            that of a function or an app.
        about (`str`): Help of the group.
        completion (`bool`, *optional*, defaults to `False`): Whether it offers to install shell completion.
    """
    kind = type("Commands", (LazyGroup,), {"commands_at": dict(commands)})
    app = typer.Typer(
        cls=kind,
        help=about,
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_show_locals=False,  # locals may hold the user's tokens
        context_settings=SETTINGS,
    )
    app.callback()(lambda: None)
    return app
