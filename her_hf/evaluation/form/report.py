"""The report of the form evaluation: shares with intervals, patterns, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from her_hf.runs.report.headline import caption
from her_hf.runs.report.markdown import counted, escape, figure, name_of, percent, table
from her_hf.runs.report.plots import GREY, OURS, finish
from her_hf.runs.report.shared import (
    Flag,
    Results,
    Section,
    model_flags,
    option_flags,
    reproduce_section,
    write_report,
)

from .results import SHARES, share_of
from .transcripts import form_transcripts

PLOT = "form.png"
MAX_PATTERNS = 12
"""Patterns that are shown; the others are summed."""
SHOWN_CASES = 5

_LABELS = {
    "well_formed": "well-formed (one closed system block, own label, visible text, no issue, end-of-turn token)",
    "own_role": "in role (own label, no other speaker)",
    "ended": "with end-of-turn token",
    "visible": "visible to others",
    "leak_rate": "leak of either kind",
    "top_share": "most frequent pattern",
}
_LEAKS = {"spoken_thoughts": "own thinking leaked into speech", "known_secrets": "uses another's thought"}
_SHORT = {
    "well_formed": "well-\nformed",
    "own_role": "in role",
    "ended": "end-of-turn\ntoken",
    "visible": "visible",
    "leak_rate": "leak",
    "top_share": "most frequent\npattern",
}


def write_form_report(results: Results, out: Path) -> Path:
    """Writes `report.md`, `report.html` and the plot into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.runs.envelope.FormResults`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Without any reply it has no figures and says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = [_head, _missing]
    if results["figures"]:
        draw_form(results, out / PLOT)
        sections += [_shares, _patterns, _lengths, _issues, _cases]
    return write_report(
        results, out, opening=sections, closing=[_reproduce], transcripts=form_transcripts(results, out)
    )


def _head(results: Results) -> str:
    settings = results["settings"]
    count = results["counts"]["replies"]
    lines = ["# Dual-layer form"]
    if "dialogues" in settings:
        lines.append(f"{counted(count, 'turn')} of characters in {escape(settings['dialogues'])}.")
    else:
        lines.append(
            f"**{name_of(settings.get('model'))}** replied to {counted(count, 'turn')} of scenes, prompt style "
            f"“{escape(settings.get('style', '?'))}”."
        )
    lines.append("These figures are computed without a judge. They measure form, not the quality of the role-play.")
    if settings.get("style", "her") != "her":
        lines.append("This prompt style does not request system thinking, and without it no reply is well-formed.")
    return "\n\n".join(lines)


def _missing(results: Results) -> str:
    missing = results["missing"]
    what = "dialogues" if "dialogues" in results["settings"] else "replies"
    if not missing["missing"]:
        return f"None of {missing['expected']:,} {what} is missing."
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in missing["by_cause"].items())
    first = escape(missing["failures"][0]["detail"], limit=300)
    again = "" if what == "dialogues" else " The same command repeats their requests."
    return (
        f"> **{missing['missing']:,} of {missing['expected']:,} {what} are missing ({percent(missing['share'])})**: "
        f"{causes}. They are excluded from all figures.{again} The first: {first}"
    )


def _shares(results: Results) -> str:
    figures, ends = results["figures"], results["intervals"]
    rows = []
    for name in SHARES:
        rows.append([_LABELS[name], percent(share_of(figures, name)), _percents(ends[name])])
        if name == "leak_rate":
            rows += [
                [f"· {label}", _share(figures["leaks"][leak]), _percents(ends["leaks"][leak])]
                for leak, label in _LEAKS.items()
            ]
    return (
        "## Shares of replies\n\nIntervals: 95% Wilson, assuming independent replies; those of one scene are "
        "correlated. Leaks are detected by runs of words that occurred only in a thought before, so compare a rate "
        "with that of a reference.\n\n"
        + table(["figure", "share", "95% interval"], rows)
        + f"\n\n![Shares with intervals, and patterns]({PLOT})"
    )


def _patterns(results: Results) -> str:
    patterns, found = results["figures"]["patterns"], results["counts"]["patterns"]
    repeated = figure(results["figures"]["self_bleu"], ".4f")
    rows: list[list[object]] = [[name, count] for name, count in list(found.items())[:MAX_PATTERNS]]
    rest = list(found.values())[MAX_PATTERNS:]
    if rest:
        rows.append([counted(len(rest), "other"), sum(rest)])
    return (
        "## Patterns\n\nThe order of layers in a reply: T role thinking, A action, S speech. "
        f"{patterns['distinct']} distinct in {counted(patterns['count'], 'reply', 'replies')}, entropy "
        f"{patterns['entropy']:.2f} nats. Self-BLEU-4 of the replies: {repeated} (0 to 1, "
        "lower is more varied; only sets of similar size are comparable).\n\n" + table(["pattern", "replies"], rows)
    )


def _lengths(results: Results) -> str:
    ends = results["intervals"]["characters"]
    rows = [
        [layer.replace("_", " "), f"{size:,.0f}", _sizes(ends[layer])]
        for layer, size in results["figures"]["characters"].items()
    ]
    return (
        "## Length\n\nMean characters per reply; an absent layer counts as 0. Intervals: 95% percentile bootstrap "
        "over "
        "replies.\n\n" + table(["layer", "characters", "95% interval"], rows)
    )


def _issues(results: Results) -> str:
    issues = ", ".join(f"{escape(issue)} {count}" for issue, count in results["figures"]["issues"].items())
    return f"Replies with each parsing issue: {issues or 'none'}."


def _cases(results: Results) -> str:
    """The first defective replies, with their keys."""
    bad = [case for case in results["cases"] if not case["well_formed"] or case["leak"]]
    if not bad:
        return ""
    rows = [
        [
            *map(escape, case["key"]),
            escape(case["character"]),
            "yes" if case["well_formed"] else "no",
            "yes" if case["ended"] else "no",
            escape(", ".join(case["issues"]) or "none"),
            escape("; ".join(case["spoken_thoughts"]) or ("another's thought" if case["knows_secret"] else "none")),
        ]
        for case in bad[:SHOWN_CASES]
    ]
    head = ["book", "i_p", "i_c", "turn", "character", "well-formed", "ended", "issues", "leak"]
    count = counted(len(bad), "reply is", "replies are")
    return f"## Defective replies\n\n{count} not well-formed or have a leak; the first:\n\n" + table(head, rows)


def _reproduce(results: Results) -> str:
    settings = results["settings"]
    flags: list[Flag] = [("--scenes", "SCENES")]
    if "dialogues" in settings:
        flags = [("--dialogues", settings["dialogues"]), *(flags if settings.get("scenes") else [])]
    else:
        names = ("style", "max_tokens", "temperature", "seed")
        url, name = model_flags("model", settings.get("model"))
        flags += [url, ("--model-name", name[1]), ("--max-replies", results["missing"]["expected"])]
        flags += option_flags(settings, {name: f"--{name.replace('_', '-')}" for name in names})
    return reproduce_section("form", "scenes", [[*flags, ("--out", "DIR")]])


def _share(value: float | None) -> str:
    return "not looked for" if value is None else percent(value)


def _percents(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "–"


def _sizes(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:,.0f}, {ends[1]:,.0f}]" if ends else "–"


def draw_form(results: Results, path: Path) -> None:
    """Plots the shares with their 95% intervals, and the counts of patterns.

    Args:
        results (`Mapping`): Contents of `results.json`, with figures.
        path (`Path`): The PNG.
    """
    figures, intervals = results["figures"], results["intervals"]
    patterns = list(results["counts"]["patterns"].items())[:MAX_PATTERNS]
    with rc_context({"text.parse_math": False}):
        drawing = Figure(figsize=(10.0, 3.8))
        # A single pattern would be a single bar.
        left, *others = (
            drawing.subplots(1, 2, squeeze=False, width_ratios=[6, 5])[0]
            if len(patterns) > 1
            else [drawing.subplots()]
        )
        for place, name in enumerate(SHARES):
            share, ends = 100 * share_of(figures, name), intervals[name]
            left.bar(place, share, 0.72, color=OURS)
            if ends:
                error = [[max(0.0, share - 100 * ends[0])], [max(0.0, 100 * ends[1] - share)]]
                left.errorbar(place, share, error, color="black", capsize=3, linewidth=1)
        labels = [f"{_SHORT[name]}\n{share_of(figures, name):.0%}" for name in SHARES]
        left.set_xticks(range(len(SHARES)), labels, fontsize=8)
        left.set_ylim(0, 105)
        left.set_ylabel("% of replies")
        left.set_title(f"{figures['replies']} replies (lines: 95% Wilson intervals)", fontsize=10)
        for right in others:
            _draw_patterns(right, patterns)
        finish(drawing, path, caption(results))


def _draw_patterns(axes: Any, patterns: Sequence[tuple[str, int]]) -> None:
    axes.barh(range(len(patterns)), [count for _, count in patterns], color=GREY)
    axes.set_yticks(range(len(patterns)), [name for name, _ in patterns], fontsize=8)
    axes.set_ylim(max(len(patterns), MAX_PATTERNS // 2) - 0.4, -0.6)  # first pattern on top; keeps few bars narrow
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("replies")
    axes.set_title("most frequent patterns (T role thinking, A action, S speech)", fontsize=10)
