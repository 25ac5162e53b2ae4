"""`her-hf pull`: downloads a repository of the Hub into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from her_hf.hub.client import Kind


def pull(
    kind: Annotated[
        Kind, typer.Argument(metavar="KIND", help="What the repository is: model, dataset, space or metric.")
    ],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on the Hub.")],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; must be empty or new.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; the newest commit if omitted.")] = None,
) -> None:
    """Pull a model, dataset, Space or metric from the Hub: the folder is there whole, or not at all.

    The same command again resumes. The token is that of HF_TOKEN or of `hf auth login`.

    her-hf pull model me/smollm2-135m-her-sft outputs/pulled
    """
    from her_hf.hub.pull import pull as pull_repository

    folder = pull_repository(kind, repo, out, revision=revision)
    files = [file for file in folder.rglob("*") if file.is_file()]
    typer.echo(f"Pulled {repo} to {folder} ({len(files)} files, {sum(file.stat().st_size for file in files):,} bytes)")
