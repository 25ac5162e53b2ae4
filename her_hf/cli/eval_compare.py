"""`her-hf eval compare`: significance tests of the difference between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

_OVER_ALL = ("avg", "overall")
_MANY = {"scene": "scenes", "seed": "seeds", "reply": "replies", "pair": "pairs"}


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Output folder of a run: A.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Output folder of the other run: B.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for compare.json; by default nothing is written.")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Permutations per test.", min=1)] = 10_000,
    seed: Annotated[int, typer.Option(help="Random seed of the tests.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Compare runs that were measured under different settings.")
    ] = False,
) -> None:
    """Test whether two runs differ on the scenes, seeds or pairs that they share.

    Both must be runs of the same evaluation, with the same judges and the same view of thoughts (removed or kept), or
    on the same labelled pairs.

    her-hf eval compare outputs/her-sft outputs/base --out outputs/compared
    """
    from rich.console import Console
    from rich.text import Text

    from her_hf.durable import write_json
    from her_hf.evaluation.compare import compare_runs

    found = compare_runs(first, second, resamples=resamples, seed=seed, force=force)
    console = Console(highlight=False)
    for name, side in (("A", found["first"]), ("B", found["second"])):
        console.print(Text(f"{name}: {side['model']} ({side['folder']})"))
    console.print(_table(found))
    for note in _notes(found):
        console.print(Text(note))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "compare.json", found)
        console.print(Text(f"Written: {out / 'compare.json'}"))


def _table(found: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)  # fits 80 columns
    for head in ("score", "A", "B", "A - B", "95% interval", "p", "pairs", "dropped"):
        shown.add_column(head, justify="left" if head == "score" else "right", overflow="fold")
    for name, test in found["tests"].items():
        style = "bold" if name in _OVER_ALL else ""
        shown.add_row(name.removesuffix("_score").replace("_", " "), *_cells(test), style=style)
    for judge, tests in found.get("by_judge", {}).items():
        shown.add_row(Text(f"avg by {judge}"), *_cells(tests["avg"]))
    return shown


def _cells(test: dict[str, Any]) -> list[str]:
    """The numbers of one test; without enough pairs only the counts."""
    counts = [str(test["pairs"]), str(test["dropped"])]
    if test["difference"] is None:
        return ["–"] * 5 + counts
    means = [f"{test['first']:.2f}", f"{test['second']:.2f}", f"{test['difference']:+.2f}"]
    ends = "[{:+.1f}, {:+.1f}]".format(*test["interval"]) if test["interval"] else "–"
    p_value = "<0.001" if test["p_value"] < 0.001 else f"{test['p_value']:.3f}"
    return [*means, ends, p_value, *counts]


def _notes(found: dict[str, Any]) -> list[str]:
    """Notes on the table."""
    unit, counted = found["unit"], _MANY[found["counted"]]
    notes = [
        f"{found['shared']} {unit}s in both runs, {found['only_first']} only in A, {found['only_second']} only in B. "
        f"Scores are estimated as in the reports, over complete pairs: {counted} with this score in both runs; the "
        "others are dropped.",
        f"p: paired permutation test over {unit}s, two-sided, not corrected for the number of scores.",
    ]
    if found["evaluation"] == "form":
        notes.append(
            "Percent of replies. A dash: one run was scored without scenes, so use of another's thought is unknown."
        )
    if "by_judge" in found:
        notes.append("A scene that only some of the judges scored has no joint score, but counts for these judges.")
    notes += [f"Compared because of --force, although {objection}." for objection in found["objections"]]
    if found["other_settings"]:
        notes.append(f"Other settings that differ: {', '.join(found['other_settings'])}.")
    return notes
