"""`her-hf eval …`: one subcommand an evaluation."""

from __future__ import annotations

import typer

from .eval_compare import compare
from .eval_coser import coser
from .eval_form import form
from .eval_minimax import app as minimax_app
from .eval_reward import reward
from .eval_show import show

app = typer.Typer(
    help="Evaluate models: CoSER, MiniMax-style role-play, form, reward models; show a run, compare two.",
    no_args_is_help=True,
)
app.command("coser")(coser)
app.command("compare")(compare)
app.command("form")(form)
app.command("reward")(reward)
app.command("show")(show)
app.add_typer(minimax_app, name="minimax")
