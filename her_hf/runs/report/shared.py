"""Sections of all reports: missing results, failures, settings, commands to reproduce the run."""

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
    """Writes `report.md` and `report.html` of a run; the plots that sections name must already be in `out`.

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run, which has notes and session records.
        opening (`Sequence[Callable]`): Sections before the transcripts of the page.
        closing (`Sequence[Callable]`): Sections after them; the last one follows settings and run.
        transcripts (`Sequence[Transcript]`): Transcripts for the page, lowest scores first.

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


def write_played_report(
    results: Results,
    out: Path,
    *,
    head: Section,
    plots: Mapping[str, Callable[[Results, Path], object]],
    scores: Sequence[Section],
    details: Sequence[Section],
    closing: Sequence[Section],
    transcripts: Sequence[Transcript],
) -> Path:
    """Writes the report of dialogues that are played first and judged afterwards. See [`write_report`].

    Args:
        results (`Mapping`): The envelope.
        out (`Path`): The folder of the run.
        head (`Callable`): The first section.
        plots (`Mapping[str, Callable]`): What draws each PNG file, if the dialogues were judged.
        scores, details (`Sequence[Callable]`): Sections before and after the transcripts, if they were judged.
        closing (`Sequence[Callable]`): Sections after these.
        transcripts (`Sequence[Transcript]`): Transcripts for the page.

    Returns:
        `Path`: `report.md`. Without judgements it has no scores, which `head` says.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not is_judged(results):
        return write_report(results, out, opening=[head], closing=closing, transcripts=transcripts)
    for name, draw in plots.items():
        draw(results, out / name)
    opening, closing = [head, missing_first, *scores], [*details, *closing]
    return write_report(results, out, opening=opening, closing=closing, transcripts=transcripts)


def run_section(results: Results) -> str:
    """Data, version, date, time and tokens, over all starts in the folder."""
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
        return "## Run\n\nNot recorded in this folder."
    return "## Run\n\n" + table(["item", "value"], rows)


def _commit(commit: str | None) -> str:
    if commit is None:
        return "not a git checkout"
    digest, dash, dirty = commit.partition("-")
    return f"{digest[:12]}{dash}{dirty}"


def _spent(starts: Sequence[Mapping[str, Any]]) -> list[list[object]]:
    """Calls and tokens of each model."""
    spent: dict[str, Counter[str]] = {}
    for start in starts:
        for role, counts in start["spent"].items():
            spent.setdefault(role, Counter()).update(counts)
    return [
        [
            f"calls and tokens, {escape(role.replace('_', ' '))}",
            f"{counts['asked']:,} calls, {counts['prompt_tokens']:,} prompt tokens, {counts['completion_tokens']:,} "
            f"completion tokens{_uncounted(counts['uncounted'])}",
        ]
        for role, counts in spent.items()
    ]


def _uncounted(count: int) -> str:
    return f"; {count:,} answers without usage" if count else ""


NOT_JUDGED = (
    "**There are no scores, because nothing was judged.** The sections below need no judge. To judge these dialogues, "
    "run the same command with `--judge-only` and `--judge`."
)


def is_judged(results: Results) -> bool:
    """Whether the run was judged, even if scores are missing."""
    return bool(results["figures"]["scores"])


def missing_first(results: Results) -> str:
    """The missing judgements, in one paragraph before the scores."""
    missing = results["missing"]
    if not missing["missing"]:
        return f"None of {missing['expected']:,} judgements is missing."
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in missing["by_cause"].items())
    return (
        f"> **{missing['missing']:,} of {missing['expected']:,} judgements are missing "
        f"({percent(missing['share'])})**: {causes}. They are excluded from all means and never replaced by a number; "
        "see [below](#missing-judgements)."
    )


def missing_section(results: Results, *notes: str) -> str:
    """Missing judgements by cause, and notes on the others."""
    missing = results["missing"]
    rows = [
        [escape(cause), CAUSES.get(cause, ""), count, percent(count / missing["expected"])]
        for cause, count in missing["by_cause"].items()
    ]
    causes = table(["cause", "meaning", "judgements", "share of all"], rows) if rows else "None."
    again = "The same command repeats failed requests."
    return "\n\n".join(
        ["## Missing judgements", causes, *([again] if "request" in missing["by_cause"] else []), *notes]
    )


def failures_section(what: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    return (
        f"## Failures\n\n{what} failed; their judgements count as missing. The same command repeats them.\n\n"
        f"{folded(head, rows)}"
    )


def settings_section(results: Results) -> str:
    rows = [[escape(name), setting(value)] for name, value in sorted(results["settings"].items()) if name != "data"]
    if not rows:
        return "## Settings\n\nNot recorded in the dialogues."
    notes = "".join(f"\n- {escape(note, limit=400)}" for note in results["notes"])
    list_of_notes = f"\n\nNotes:\n{notes}" if notes else ""
    return "## Settings\n\n" + table(["setting", "value"], rows) + list_of_notes


def reproduce_section(name: str, units: str, commands: Sequence[Sequence[Flag]]) -> str:
    title = "## How to reproduce\n\n"
    if not commands:
        return f"{title}Not available: the settings of the dialogues are not recorded."
    shown = "\n".join(_command(name, flags) for flags in commands)
    return (
        f"{title}{units.upper()} is the file, folder or Hub dataset of these {units}, DIR a new folder, and each URL "
        "a server of the model named after it (or a folder, without a name). After an interruption, the same command "
        f"resumes in the same folder.\n\n{fence(shown, 'bash')}"
    )


def commands(where: list[Flag], play: list[Flag], judge: list[Flag], seeds: tuple[Any, Any]) -> list[list[Flag]]:
    """One command for playing and judging if their seeds are equal, else one for each."""
    if play and judge and seeds[0] == seeds[1]:
        return [[*where, *play, *judge, ("--seed", seeds[0])]]
    steps = [(play, seeds[0], "--simulate-only"), (judge, seeds[1], "--judge-only")]
    return [[*where, *flags, ("--seed", seed), (only, None)] for flags, seed, only in steps if flags]


def _command(name: str, flags: Sequence[Flag]) -> str:
    """A shell command with one option per line."""
    lines = [f"her-hf eval {name}"]
    for option, value in flags:
        text = " ".join(str(value).split())
        between = "=" if text.startswith("-") else " "  # a value that looks like an option
        lines.append(option if value is None else f"{option}{between}{shlex.quote(text)}")
    return " \\\n  ".join(lines)


def model_flags(role: str, fingerprint: object, url: str | None = None) -> list[Flag]:
    option = f"--{role.replace('_', '-')}"
    return [(option, url or f"{role.upper()}_URL"), (f"{option}-name", plain_name(fingerprint))]


def option_flags(settings: Results, names: Mapping[str, str]) -> list[Flag]:
    """Options with their values from the settings; `names` maps settings to options."""
    return [(option, settings[name]) for name, option in names.items() if name in settings]
