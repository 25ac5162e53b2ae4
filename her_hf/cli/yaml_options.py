"""`--config FILE`: a YAML file with a command's options as keys; what stands on the command line wins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml


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
