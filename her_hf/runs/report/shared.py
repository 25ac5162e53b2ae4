"""Sections that every report has: what is missing, what failed, the settings, how to do it again."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.durable import replace_text
from her_hf.scoring.missing import CAUSES

from ..starts import notes_in, starts_in
from .markdown import escape, fence, folded, percent, plain_name, setting, table
from .page import write_page
from .transcripts import Transcript

REPORT = "report.md"
Results = Mapping[str, Any]
Section = Callable[[Results], str]
Flag = tuple[str, object]
"""An option and its value; `None` if it takes none."""


def write_report(
    results: Results,
    out: Path,
    *,
    opening: Sequence[Section],
    closing: Sequence[Section],
    transcripts: Sequence[Transcript],
) -> Path:
    """Writes `report.md` and `report.html` of a run; the plots that sections name lie in `out` already.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run, where what models noted and what was spent is looked up.
        opening (`Sequence[Callable]`): Sections before the transcripts of the page.
        closing (`Sequence[Callable]`): Those behind them, before settings and the run itself.
        transcripts (`Sequence[Transcript]`): The worst first; only the page has them.

    Returns:
        `Path`: `report.md`.
    """
    known = {**results, "notes": notes_in(out), "starts": starts_in(out)}
    last, reproduce = closing[:-1], closing[-1]
    before, after = (
        list(filter(None, (section(known) for section in sections)))
        for sections in (opening, [*last, settings_section, run_section, reproduce])
    )
    units = len(results["cases"])
    if results["evaluation"] == "coser":
        units += len(results["missing"]["failures"])
    left_out = units - len(transcripts) if transcripts else 0
    write_page(results, out, opening=before, closing=after, transcripts=transcripts, left_out=left_out)
    file = out / REPORT
    replace_text(file, "\n\n".join([*before, *after]) + "\n")
    return file


def run_section(results: Results) -> str:
    """On which data, with which code, when, and what it took; of all starts in the folder together."""
    data, starts = results["settings"].get("data"), results["starts"]
    rows: list[list[object]] = []
    if data:
        rows += [["data", escape(data["source"] or "not recorded")], ["split", escape(data["split"] or "–")]]
        rows += [["units", data["count"]], ["digest of the data", data["digest"][:12]]]
    if starts:
        last = starts[-1]
        rows += [
            ["her_hf", escape(last["version"])],
            ["commit", escape(_commit(last["commit"]))],
            ["ended", escape(last["ended"])],
            ["starts", len(starts)],
            ["time, all starts", f"{sum(max(one['seconds'].values(), default=0.0) for one in starts):,.0f} s"],
            *_spent(starts),
        ]
    if not rows:
        return "## Run\n\nNot recorded: what was run, and when, is not in this folder."
    return "## Run\n\n" + table(["what", "value"], rows)


def _commit(commit: str | None) -> str:
    if commit is None:
        return "not a git checkout"
    digest, dash, dirty = commit.partition("-")
    return f"{digest[:12]}{dash}{dirty}"


def _spent(starts: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    """Of each model its calls and tokens."""
    spent: dict[str, Counter[str]] = {}
    for start in starts:
        for role, counts in start["spent"].items():
            spent.setdefault(role, Counter()).update(counts)
    return [
        [
            f"calls and tokens, {escape(role.replace('_', ' '))}",
            f"{counts['asked']:,} calls, {counts['prompt_tokens']:,} tokens read, {counts['completion_tokens']:,} "
            f"written{_uncounted(counts['uncounted'])}",
        ]
        for role, counts in spent.items()
    ]


def _uncounted(count: int) -> str:
    return f"; {count:,} answers did not say" if count else ""


NOT_JUDGED = (
    "**Nothing was judged, so there are no scores.** What follows needs no judge. To judge these dialogues, run the "
    "same command with `--judge-only` and a `--judge`."
)


def is_judged(results: Results) -> bool:
    """Whether there are scores, of which some or all may be missing."""
    return bool(results["figures"]["scores"])


def missing_first(results: Results) -> str:
    """What a reader must know before any score."""
    missing = results["missing"]
    if not missing["missing"]:
        return f"No judgement is missing: all {missing['expected']:,} are there."
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in missing["by_cause"].items())
    return (
        f"> **{missing['missing']:,} of {missing['expected']:,} judgements are missing "
        f"({percent(missing['share'])})**: {causes}. They are left out of every mean and stand for no number; see "
        "[below](#missing-judgements)."
    )


def missing_section(results: Results, *notes: str) -> str:
    """Missing judgements by cause, and what is said of those that are there."""
    missing = results["missing"]
    rows = [
        [escape(cause), CAUSES.get(cause, ""), count, percent(count / missing["expected"])]
        for cause, count in missing["by_cause"].items()
    ]
    causes = table(["cause", "meaning", "judgements", "share of all"], rows) if rows else "None."
    again = "Requests that failed are made again when the same command is given again."
    return "\n\n".join(
        ["## Missing judgements", causes, *([again] if "request" in missing["by_cause"] else []), *notes]
    )


def failures_section(what: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    return (
        f"## Failures\n\n{what} could not be played to the end; their judgements count as missing. The same command "
        f"tries them again.\n\n{folded(head, rows)}"
    )


def settings_section(results: Results) -> str:
    rows = [[escape(name), setting(value)] for name, value in sorted(results["settings"].items()) if name != "data"]
    if not rows:
        return "## Settings\n\nNot recorded: the dialogues do not say how they were played."
    notes = "".join(f"\n- {escape(note, limit=400)}" for note in results["notes"])
    told = f"\n\nNoted on the way:\n{notes}" if notes else ""
    return "## Settings\n\n" + table(["setting", "value"], rows) + told


def reproduce_section(name: str, units: str, commands: Sequence[Sequence[Flag]]) -> str:
    title = "## How to reproduce\n\n"
    if not commands:
        return f"{title}How the dialogues were played is not recorded, so no command can be given."
    shown = "\n".join(_command(name, flags) for flags in commands)
    return (
        f"{title}{units.upper()} stands for the file, folder or Hub dataset of these {units}, DIR for a new folder, "
        "and each URL for a server that offers the model of the name beside it (or a folder, without a name). "
        f"The same command in the same folder goes on after an interruption.\n\n{fence(shown, 'bash')}"
    )


def commands(where: list[Flag], play: list[Flag], judge: list[Flag], seeds: tuple[Any, Any]) -> list[list[Flag]]:
    """One command for playing and judging if they share their seed; else one for each."""
    if play and judge and seeds[0] == seeds[1]:
        return [[*where, *play, *judge, ("--seed", seeds[0])]]
    steps = [(play, seeds[0], "--simulate-only"), (judge, seeds[1], "--judge-only")]
    return [[*where, *flags, ("--seed", seed), (only, None)] for flags, seed, only in steps if flags]


def _command(name: str, flags: Sequence[Flag]) -> str:
    """A command for a shell, an option with its value on a line."""
    lines = [f"her-hf eval {name}"]
    for option, value in flags:
        text = " ".join(str(value).split())
        between = "=" if text.startswith("-") else " "  # a value that looks like an option is none
        lines.append(option if value is None else f"{option}{between}{shlex.quote(text)}")
    return " \\\n  ".join(lines)


def model_flags(role: str, fingerprint: object, url: str | None = None) -> list[Flag]:
    option = f"--{role.replace('_', '-')}"
    return [(option, url or f"{role.upper()}_URL"), (f"{option}-name", plain_name(fingerprint))]


def option_flags(settings: Results, names: Mapping[str, str]) -> list[Flag]:
    """Options with the values that settings hold; `names` are options by the settings they come from."""
    return [(option, settings[name]) for name, option in names.items() if name in settings]
