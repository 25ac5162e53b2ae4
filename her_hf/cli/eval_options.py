"""What the evaluations' options share: `--config FILE` (YAML; the command line wins) and `--no-resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from her_hf.durable import RUN_FILE


def _load(context: typer.Context, file: Path | None) -> Path | None:
    """Makes the file's values the defaults of the other options."""
    if file is None:
        return None
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise typer.BadParameter(f"cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise typer.BadParameter(f"must hold options as keys, got {type(values).__name__}")
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    named: dict[str, Any] = {str(key).replace("-", "_"): value for key, value in values.items()}
    unknown = sorted(named.keys() - known)
    if unknown:
        raise typer.BadParameter(f"has keys that are no options: {unknown}; there are {sorted(map(str, known))}")
    context.default_map = {**(context.default_map or {}), **named}
    return file


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="YAML file with these options as keys; the command line wins.",
        callback=_load,
        is_eager=True,
    ),
]

ResumeOption = Annotated[
    bool,
    typer.Option("--resume/--no-resume", help="Go on with what DIR holds; else a DIR that holds a run is refused."),
]


def refuse_a_run(out: Path, resume: bool) -> None:
    """With `--no-resume`, an output folder that holds a run is refused; nothing is ever deleted.

    Raises:
        `FileExistsError`: If there is one.
    """
    if not resume and (out / RUN_FILE).exists():
        raise FileExistsError(f"{out} holds a run already: name another folder, or leave out --no-resume to go on.")
