"""`her-hf push`: sends a folder to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from her_hf.hub.client import Kind

from .terminal import clean

if TYPE_CHECKING:
    from her_hf.hub.push import Pushed


def push(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="What the folder is: model, dataset, space or metric.")],
    path: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder, with its card (README.md).")],
    repo: Annotated[
        str,
        typer.Argument(metavar="REPO", help="owner/name on the Hub; a metric's name must be that of its script."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and list what would be sent; send nothing.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see the repository.")] = False,
    collection: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add it to this collection of its owner, which is made if it is missing."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a repository that holds something else.")] = False,
) -> None:
    """Push a model, dataset, Space or metric to the Hub: checked, in one commit, private unless --public.

    The same command again sends only what is missing. The token is that of HF_TOKEN or of `hf auth login`.

    her-hf push model outputs/smollm2-135m-her-sft me/smollm2-135m-her-sft --dry-run
    """
    from her_hf.hub.push import push as push_folder

    pushed = push_folder(
        kind, path, repo, public=public, collection=collection, message=message, dry_run=dry_run, force=force
    )
    _print_files(pushed, dry_run=dry_run)
    if dry_run:
        typer.echo(f"Dry run: nothing was sent. It would go to {pushed.address}")
        return
    done = f"{len(pushed.sent)} files sent" if pushed.sent else "nothing was missing there"
    typer.echo(f"Pushed to {pushed.address} ({done}; commit {pushed.commit})")
    if pushed.collection:
        typer.echo(f"Collection: {pushed.collection}")


def _print_files(pushed: Pushed, *, dry_run: bool) -> None:
    """One line a file that is sent, or that is left out."""
    from her_hf.hub.listing import size_of

    for name, source in pushed.files.items():
        if dry_run or name in pushed.sent:
            typer.echo(f"{'would send' if dry_run else 'sent'}  {size_of(source):>14,} bytes  {clean(name)}")
    for name, reason in pushed.left_out.items():
        typer.echo(f"left out  {clean(name)}  ({reason})")
    for note in pushed.notes:
        typer.echo(f"Note: {clean(note)}")
