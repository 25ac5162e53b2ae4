"""The command `her-hf`; each subcommand is a function in the module of the same name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from her_hf import __version__
from her_hf.extras import missing_library

from .lazy import group_of

COMMANDS = {
    "base": ("her_hf.cli.base:base", "Write a base model as an ordinary Hugging Face folder."),
    "attach": (
        "her_hf.cli.attach:attach",
        "Write a copy of a base model with HER's chat template, parser, scene prompt and generation defaults.",
    ),
    "chat": ("her_hf.cli.chat:chat", "Chat with a character, and show or hide both layers of its thinking."),
    "serve": (
        "her_hf.cli.serve:serve",
        "Serve a checkpoint to OpenAI clients: vLLM if it is installed, else transformers serve; llama.cpp for a "
        "GGUF.",
    ),
    "inspect-mask": (
        "her_hf.cli.inspect_mask:inspect_mask",
        "Show which tokens are trained and what each branch sees, in colour, or in ⟦brackets⟧ without a terminal.",
    ),
    "merge": (
        "her_hf.cli.merge:merge",
        "Merge a LoRA adapter into its base, with tokenizer, template and generation defaults.",
    ),
    "export": ("her_hf.cli.export:export", "Write a checkpoint as one GGUF file, for llama.cpp and LM Studio."),
    "pairs": (
        "her_hf.cli.pairs:pairs",
        "Make the reward model's data: sample candidates, pair them, have a teacher label them, "
        "allocate them to sets.",
    ),
    "judge": (
        "her_hf.cli.judge:judge",
        "Judge pairs of replies: which plays the role better, and by which principles.",
    ),
    "push": (
        "her_hf.cli.push:push",
        "Push a model, dataset, Space or metric to the Hub: checked, in one commit, private unless --public.",
    ),
    "pull": (
        "her_hf.cli.pull:pull",
        "Pull a model, dataset, Space or metric from the Hub: the folder is there whole, or not at all.",
    ),
    "eval": ("her_hf.cli.eval_commands:app", "Evaluate models; show a run, compare two."),
    "leaderboard": ("her_hf.cli.leaderboard:app", "Build the leaderboard's Space, check a submission."),
}

app = group_of(COMMANDS, "Dual-layer role-play (HER) with Hugging Face tools.", completion=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"her_hf {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of `her-hf` itself."""


def main() -> None:
    """Runs the command; an error that the user can fix is printed in one line, without a traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        typer.secho(f"Error: {missing_library('this command', error)}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except (ImportError, ValueError, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_of_a_model(error):
            raise
        typer.secho(f"Error: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)


def _is_of_a_model(error: RuntimeError) -> bool:
    """Whether a call to a model failed. Imported here, because only some commands need inference."""
    from her_hf.inference import ModelError

    return isinstance(error, ModelError)


if __name__ == "__main__":
    main()
