"""The main figures as a table in a terminal; names of models are never parsed as markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .headline import TITLES, facts, headline
from .page import plain


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the models, settings, missing share and main figures.

    Args:
        results (`Mapping`): The envelope, see [`~her_hf.runs.envelope`].
    """
    Console(highlight=False).print(results_table(results))


def results_table(results: Mapping[str, Any]) -> Group:
    """The table of [`print_results`]."""
    known = Table.grid(padding=(0, 2))
    for name, value in facts(results):
        known.add_row(Text(name, style="dim"), Text(" ".join(plain(value).split())))
    figures = headline(results)
    if not figures:
        note = Text("No figures: nothing was judged, or all results are missing. See the report for the causes.")
        return Group(Text(TITLES[results["evaluation"]], style="bold"), known, note)
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)  # fits 80 columns
    for head in ("figure", "value", "95% interval", "over"):
        table.add_column(head, justify="left" if head in ("figure", "over") else "right", overflow="fold")
    for at, (name, value, interval, of) in enumerate(figures):
        table.add_row(Text(plain(name)), value, Text(interval or "–"), of, style="" if at else "bold")
    return Group(Text(TITLES[results["evaluation"]], style="bold"), known, table)
