"""`her-hf merge`: merges a LoRA adapter into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    adapter: Annotated[str, typer.Argument(help="Folder or Hub id of a LoRA adapter.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    base: Annotated[str | None, typer.Option(help="Base model, if it is no longer where the adapter says.")] = None,
    dtype: Annotated[
        str, typer.Option(help="Dtype of the merged weights: a torch name, or auto for the base's.")
    ] = "auto",
) -> None:
    """Merge a LoRA adapter into its base, with tokenizer, template and generation defaults."""
    from her_hf.training.run.adapters import merge_adapter

    typer.echo(f"The merged model is in {merge_adapter(adapter, out, base=base, dtype=dtype)}")
