"""`her-hf base`: writes the base model as an ordinary folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal import hub_note


def base(
    out: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to write; a finished folder of the same base is not changed.")
    ],
    model: Annotated[
        str,
        typer.Option("--base", metavar="MODEL", help="smollm2-135m (embedded, no network), a folder or a Hub id."),
    ] = "smollm2-135m",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="Torch dtype of the written weights.")] = "float32",
) -> None:
    """Write a base model as an ordinary Hugging Face folder."""
    from her_hf.hub.base import EMBEDDED, write_base

    if model != EMBEDDED and (note := hub_note(model)):
        typer.echo(note, err=True)
    folder = write_base(out, model, dtype=dtype)
    typer.echo(f"Wrote the base {model} to {folder}")
