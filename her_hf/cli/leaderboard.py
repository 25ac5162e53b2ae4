"""`her-hf leaderboard`: build the leaderboard's Space, check a submission."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .lazy import group_of

app = group_of(
    {
        "build": ("her_hf.cli.leaderboard:build", "Make a static Space from results of her-hf eval."),
        "check": ("her_hf.cli.leaderboard:check", "Check a submission: results.json and submission.yaml."),
    },
    "The leaderboard: a static page of results.",
)


def build(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="RESULTS…",
            help="Output folders of her-hf eval, folders of such folders, or a Hub dataset of them (owner/name).",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the Space.")],
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title of the page.")] = "HER leaderboard",
    results_repo: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Hub dataset that takes submissions; by default the one in RESULTS."),
    ] = None,
) -> None:
    """Make a static Space from results of CoSER, MiniMax, form and reward evaluations.

    Runs with the same judges, prompts and data share a table, with intervals, marks of significance, a radar and a
    table by book. The page is one file that loads nothing.

    her-hf leaderboard build outputs --out outputs/leaderboard
    """
    from her_hf.hub.leaderboard.page import build_leaderboard
    from her_hf.hub.leaderboard.submissions import fetch, find_entries

    folders = [fetch(source) for source in results]
    named = next((source for source, folder in zip(results, folders, strict=True) if Path(source) != folder), None)
    entries = find_entries(folders)
    files = build_leaderboard(entries, out, title=title, results_repo=results_repo or named)
    typer.echo(f"{len(entries)} runs: {', '.join(str(file) for file in files)}")
    typer.echo(f"Share it: her-hf push space {out} OWNER/NAME")


def check(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER…", help="Folders with results.json.")],
) -> None:
    """Check submissions to the leaderboard; exits with 1 if one is invalid.

    results.json must be as her-hf eval wrote it: each score must follow from its cases. submission.yaml beside it
    names the model (`model`, and optionally `link` and `note`).

    her-hf leaderboard check results/me__my-model/coser
    """
    from her_hf.hub.leaderboard.submissions import SUBMISSION, read_entry

    for folder in folders:
        entry = read_entry(folder)
        if not (folder / SUBMISSION).is_file():
            raise ValueError(f"{folder} has no {SUBMISSION}: write one with `model: owner/name`.")
        typer.echo(f"{folder}: {entry.results['evaluation']} of {entry.submission.model}: valid")
