"""`her-hf eval …`: one subcommand an evaluation."""

from __future__ import annotations

import typer

from .eval_coser import coser

app = typer.Typer(help="Evaluate: CoSER, MiniMax-style reenactment, form.", no_args_is_help=True)
app.command("coser")(coser)
