"""`her-hf attach`: writes a checkpoint folder with the method attached."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def attach(
    base: Annotated[str, typer.Argument(metavar="MODEL", help="Base model: a folder or a Hub id.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; must be empty or new.")],
    bare_prefill: Annotated[
        bool,
        typer.Option(
            "--bare-prefill", help="Open replies with the bare tag, without a newline, for the released HER-32B."
        ),
    ] = False,
) -> None:
    """Write a copy of a base model with HER's chat template, parser, scene prompt and generation defaults."""
    from her_hf.processing import attach_model

    processor = attach_model(base, out, bare_prefill=bare_prefill)
    typer.echo(f"Wrote {base} with HER's {processor.frame.name} template to {out}")
