"""`her-hf export`: writes a checkpoint as one GGUF file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .terminal import hub_note


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Checkpoint with the HER template: a local folder or a Hub id.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="File to write.")],
    weights: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Type of the weights: f32, f16, bf16 or q8_0.")
    ] = "q8_0",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    pre_tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="llama.cpp's name of the pre-tokenizer (qwen2, llama-bpe, …), for a vocabulary that the converter "
            "does not recognize.",
        ),
    ] = None,
) -> None:
    """Write a checkpoint as one GGUF file, for llama.cpp and LM Studio."""
    from her_hf.hub.export import export_gguf

    if note := hub_note(model):
        typer.echo(note, err=True)
    file = export_gguf(
        model,
        out,
        weights=weights.lower(),
        overwrite=overwrite,
        pre_tokenizer=pre_tokenizer,
        progress=sys.stderr.isatty(),
    )
    typer.echo(f"Wrote {file} ({weights.lower()}, {file.stat().st_size / 1e6:.0f} MB). Serve it: her-hf serve {file}")
