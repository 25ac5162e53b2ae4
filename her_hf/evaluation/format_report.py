"""The report on dual-layer form: Markdown beside its plot, every number from `results.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from her_hf.durable import replace_text

from .format import SHARES, share_of
from .plots import GREY, OURS
from .reports.markdown import escape, fence, table
from .reports.shared import REPORT

Results = Mapping[str, Any]

PLOT = "form.png"
MOST_PATTERNS = 12
"""Patterns that are shown; the rest is counted together."""
SHOWN_CASES = 5

_LABELS = {
    "well_formed": "well-formed (one closed system block, own label, something visible, no issue, ended)",
    "own_role": "in role (own label, speaks for nobody else)",
    "ended": "ended by the model itself",
    "visible": "something that others can see",
    "leak_rate": "a leak of either kind",
    "top_share": "of the commonest pattern",
}
_SHORT = {
    "well_formed": "well-\nformed",
    "own_role": "in role",
    "ended": "ended by\nitself",
    "visible": "visible",
    "leak_rate": "leak",
    "top_share": "commonest\npattern",
}


def write_format_report(results: Results, out: Path) -> Path:
    """Writes `report.md` and its plot into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.evaluation.format.format_results`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Without a single reply it has no figures, and says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Callable[[Results], str]] = [_head, _missing]
    if "figures" in results:
        draw_form(results, out / PLOT)
        sections += [_shares, _patterns, _lengths, _issues, _cases]
    file = out / REPORT
    replace_text(file, "\n\n".join(filter(None, (section(results) for section in [*sections, _settings]))) + "\n")
    return file


def _head(results: Results) -> str:
    settings = results["settings"]
    if "dialogues" in settings:
        about = f"turns of characters in {escape(settings['dialogues'])}"
    else:
        about = (
            f"replies of **{_name(settings.get('model'))}** to turns of scenes, spoken to in the style "
            f"“{escape(settings.get('style', '?'))}”, at temperature {escape(settings.get('temperature', '?'))}"
        )
    count = results["figures"]["replies"] if "figures" in results else 0
    lines = [
        "# Dual-layer form",
        f"{count:,} {about}. No judge is needed: this is about form, and says nothing of how well a role is played.",
    ]
    if settings.get("style", "her") != "her":
        lines.append("This style asks for no system thinking, and without it no reply counts as well-formed.")
    return "\n\n".join(lines)


def _missing(results: Results) -> str:
    missing = results["missing"]
    if not missing["missing"]:
        return f"Nothing is missing: all {missing['expected']:,} are there."
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in missing["by_cause"].items())
    first = f" The first: {escape(missing['first']['detail'], most=300)}" if missing["first"]["detail"] else ""
    again = "" if "dialogues" in results["settings"] else " The same command tries them again."
    return (
        f"> **{missing['missing']:,} of {missing['expected']:,} are missing ({missing['share']:.1%})**: {causes}. "
        f"They are left out of every figure.{again}{first}"
    )


def _shares(results: Results) -> str:
    figures, intervals = results["figures"], results["intervals"]
    rows = [[_LABELS[name], f"{share_of(figures, name):.1%}", _share_ends(intervals[name])] for name in SHARES]
    leaks = {"spoken_thoughts": "own thinking reached speech", "known_secrets": "another's thought was known"}
    for name, label in leaks.items():
        share = figures["leaks"][name]
        said = "not looked for" if share is None else f"{share:.1%}"
        rows.insert(-1, [f"… {label}", said, _share_ends(intervals["leaks"][name])])
    return (
        "## Shares of replies\n\nIntervals: 95% Wilson, as if replies were independent; those of one scene are not "
        "quite. Leaks are found mechanically (runs of words that so far only a thought held): read a rate beside that "
        "of a reference.\n\n"
        + table(["figure", "share", "95% interval"], rows)
        + f"\n\n![Shares with intervals, and patterns]({PLOT})"
    )


def _patterns(results: Results) -> str:
    patterns, found = results["figures"]["patterns"], results["patterns"]
    rows: list[list[object]] = [[name, count] for name, count in list(found.items())[:MOST_PATTERNS]]
    rest = list(found.values())[MOST_PATTERNS:]
    if rest:
        rows.append([f"{len(rest)} others", sum(rest)])
    repeated = results["figures"]["self_bleu"]
    return (
        "## Patterns\n\nThe order of layers in a reply: T role thinking, A action, S speech. "
        f"{patterns['distinct']} distinct in {patterns['count']} replies, entropy {patterns['entropy']:.2f} nats. "
        f"Self-BLEU-4 of the replies: {'–' if repeated is None else f'{repeated:.4f}'} (0 to 1, lower is more varied; "
        "compare sets of like size only).\n\n" + table(["pattern", "replies"], rows)
    )


def _lengths(results: Results) -> str:
    ends = results["intervals"]["characters"]
    rows = [
        [
            layer.replace("_", " "),
            f"{size:,.0f}",
            f"[{ends[layer][0]:,.0f}, {ends[layer][1]:,.0f}]" if ends[layer] else "–",
        ]
        for layer, size in results["figures"]["characters"].items()
    ]
    return (
        "## Characters a reply\n\nMeans; a layer that a reply lacks counts as 0. Intervals: 95% percentile bootstrap "
        "over replies.\n\n" + table(["layer", "characters", "95% interval"], rows)
    )


def _issues(results: Results) -> str:
    issues = ", ".join(f"{escape(issue)} {count}" for issue, count in results["figures"]["issues"].items())
    return f"Replies with each parsing issue: {issues or 'none'}."


def _cases(results: Results) -> str:
    """The first replies that are not as they should be, so that one can look them up."""
    bad = [case for case in results["cases"] if not case["well_formed"] or case["leak"]]
    if not bad:
        return ""
    rows = [
        [
            *map(escape, case["key"]),
            escape(case["character"]),
            "yes" if case["well_formed"] else "no",
            escape(", ".join(case["issues"]) or "none"),
            escape("; ".join(case["spoken_thoughts"]) or ("another's thought" if case["knows_secret"] else "–")),
        ]
        for case in bad[:SHOWN_CASES]
    ]
    head = ["book", "i_p", "i_c", "turn", "character", "well-formed", "issues", "leak"]
    return f"## The first of {len(bad)} replies that are not well-formed or leak\n\n" + table(head, rows)


def _settings(results: Results) -> str:
    settings = results["settings"]
    rows = [[escape(name), _setting(value)] for name, value in sorted(settings.items())]
    said = "## Settings\n\n" + table(["setting", "value"], rows)
    if "dialogues" in settings:
        command = "her-hf eval format --dialogues dialogues.jsonl --scenes SCENES --out DIR"
    else:
        flags = [
            f"--{name.replace('_', '-')} {settings[name]}" for name in ("max_tokens", "temperature", "seed", "style")
        ]
        asked = results["missing"]["expected"]
        command = f"her-hf eval format --scenes SCENES --model URL --replies {asked} {' '.join(flags)} --out DIR"
    return f"{said}\n\n## How to reproduce\n\n{fence(command, 'bash')}"


def _setting(value: object) -> str:
    if isinstance(value, Mapping):  # a model: its name, and of digests the first characters
        return ", ".join(f"{escape(name)} {escape(inner, most=24)}" for name, inner in sorted(value.items()))
    return escape(value, most=200)


def _name(fingerprint: object) -> str:
    name = fingerprint.get("model") if isinstance(fingerprint, Mapping) else fingerprint
    return escape(name or "a model that is not recorded", most=80)


def _share_ends(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "–"


def draw_form(results: Results, path: Path) -> None:
    """Shares with their 95% intervals, and how often each pattern came.

    Args:
        results (`Mapping`): Contents of `results.json`, with figures.
        path (`Path`): The PNG.
    """
    figures, intervals = results["figures"], results["intervals"]
    patterns = list(results["patterns"].items())[:MOST_PATTERNS]
    with rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(10.0, 3.8))
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [6, 5]})
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
        right.barh(range(len(patterns)), [count for _, count in patterns], color=GREY)
        right.set_yticks(range(len(patterns)), [name for name, _ in patterns], fontsize=8)
        right.invert_yaxis()
        right.set_xlabel("replies")
        right.set_title("commonest patterns (T thinks, A acts, S speaks)", fontsize=10)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_axisbelow(True)
        figure.tight_layout()
        figure.savefig(path, dpi=150)
