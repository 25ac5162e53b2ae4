"""`her-hf merge`: merges a LoRA adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="A LoRA adapter: a folder or a Hub id.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; must be empty or new.")],
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Base model, if it is no longer at the path that the adapter names."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(metavar="NAME", help="Torch dtype of the merged weights, or auto for that of the base."),
    ] = "auto",
) -> None:
    """Merge a LoRA adapter into its base, with tokenizer, template and generation defaults."""
    from her_hf.training.run.adapters import merge_adapter

    typer.echo(f"Wrote the merged model to {merge_adapter(adapter, out, base=base, dtype=dtype)}")
