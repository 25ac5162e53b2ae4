"""`her-hf eval show`: the figures and the HTML report of a finished run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a finished evaluation.")],
    open_page: Annotated[
        bool,
        typer.Option("--open/--no-open", help="Open report.html in a browser; with --no-open, only print its path."),
    ] = True,
) -> None:
    """Print the figures of a run and open its report.html, which is written if it is missing.

    her-hf eval show outputs/coser
    """
    from her_hf.evaluation.show import page_of
    from her_hf.runs.report.terminal import print_results

    results, page = page_of(run)
    print_results(results)
    typer.echo(f"Report: {page}")
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        typer.echo("No browser could be opened: open the file in one.", err=True)
