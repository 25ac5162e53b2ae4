"""The command `her-hf`: each subcommand is one function in a module of its own name."""

from __future__ import annotations

import sys

import typer

from her_hf.extras import missing_library
from her_hf.inference import ModelError

from .attach import attach
from .base import base
from .chat import chat
from .evaluate import app as evaluate_app
from .inspect_mask import inspect_mask
from .judge import judge
from .merge import merge
from .pairs import pairs

app = typer.Typer(
    help="Dual-layer role-play (HER) with Hugging Face tools.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold tokens of the user's
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("base")(base)
app.command("attach")(attach)
app.command("chat")(chat)
app.command("inspect-mask")(inspect_mask)
app.command("merge")(merge)
app.command("judge")(judge)
app.command("pairs")(pairs)
app.add_typer(evaluate_app, name="eval")


def main() -> None:
    """Runs the command; what the user can fix is one line, not a traceback."""
    try:
        app()
    except (ValueError, OSError, ModelError) as error:
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except ModuleNotFoundError as error:
        typer.secho(f"Error: {missing_library('this command', error)}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except ImportError as error:  # says itself what to install
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)


if __name__ == "__main__":
    main()
