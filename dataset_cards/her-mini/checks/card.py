"""The measured part of the card: a marked section of README.md and a figure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .measure import Scene, pattern_counts

BEGIN, END = "<!-- measured: begin (written by validate.py --write-card) -->", "<!-- measured: end -->"
FIGURE = "patterns.png"
_SHOWN = 40


def table(figures: Mapping[str, Any]) -> str:
    """The statistics as Markdown."""
    patterns, near = figures["patterns"], figures["near_duplicates"]
    lines = ["| split | scenes | English | Chinese | turns | books |", "|---|---:|---:|---:|---:|---|"]
    for split, own in figures["splits"].items():
        books = "; ".join(own["books"])
        lines.append(f"| {split} | {own['scenes']} | {own['en']} | {own['zh']} | {own['turns']} | {books} |")
    lines += ["", "| measured | value |", "|---|---|"]
    lines += [f"| {name} | {figures[name]} |" for name in ("scenes", "turns", "books", "characters")]
    lines += [
        f"| different patterns | {patterns['distinct']} |",
        f"| commonest pattern | {patterns['top']}, {patterns['top_share']:.1%} of turns |",
        f"| entropy of patterns (natural logarithm) | {patterns['entropy']:.2f} |",
    ]
    lines += [f"| turns {name} | {share:.1%} |" for name, share in figures["shares_of_turns"].items()]
    for language, own in figures["languages"].items():
        name = {"en": "English", "zh": "Chinese"}.get(language, language)
        for part in ("system_thinking", "reply"):
            spread = own[f"{part}_length"]
            value = f"{spread['min']} / {spread['mean']} / {spread['max']}"
            lines.append(f"| {name} {part.replace('_', ' ')}, {own['unit']} (least / mean / most) | {value} |")
        for part, value in own["self_bleu_4"].items():
            lines.append(f"| {name} {part}, Self-BLEU-4 (0 to 1, lower is more varied) | {value} |")
    lines.append(f"| most alike two turns (Jaccard of shingles, 0 to 1) | {near['largest_similarity']:.3f} |")
    return "\n".join(lines)


def written_section(card: str) -> str:
    """What stands between the marks of a card.

    Raises:
        `ValueError`: If the card does not hold both marks, in order, once each.
    """
    if card.count(BEGIN) != 1 or card.count(END) != 1 or card.index(BEGIN) > card.index(END):
        raise ValueError(f"README.md must hold the line {BEGIN!r} and, after it, {END!r}, once each.")
    return card.partition(BEGIN)[2].partition(END)[0].strip()


def write_card(path: Path, figures: Mapping[str, Any]) -> None:
    """Puts the statistics between the marks of the card and leaves the rest alone."""
    card = path.read_text(encoding="utf-8")
    written_section(card)
    before, after = card.partition(BEGIN)[0], card.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{after}", encoding="utf-8")


def digest(scenes: Sequence[Scene]) -> str:
    """Digest of the counts that the figure shows; it is kept in the figure, so that a stale figure is found."""
    return hashlib.sha256(json.dumps(pattern_counts(scenes)).encode()).hexdigest()


def draw_patterns(scenes: Sequence[Scene], path: Path) -> None:
    """Draws turns by pattern, the commonest patterns first, English and Chinese stacked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = pattern_counts(scenes)
    shown = counts[:_SHOWN]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [name for name, _, _ in shown]
    english = [count for _, count, _ in shown]
    axes.bar(names, english, color="#2f6f9f", label="English")
    axes.bar(names, [count for _, _, count in shown], bottom=english, color="#d98b3a", label="Chinese")
    axes.tick_params(axis="x", rotation=90, labelsize=8)
    axes.margins(x=0.01)
    axes.set_ylabel("turns")
    axes.yaxis.get_major_locator().set_params(integer=True)
    rest = counts[_SHOWN:]
    tail = f"; {len(rest)} more with {sum(en + zh for _, en, zh in rest)} turns are not shown" if rest else ""
    axes.set_title(
        f"{len(shown)} commonest of {len(counts)} patterns (T role thinking, A action, S speech{tail})", fontsize=10
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    canvas.print_png(path, metadata={"Description": f"pattern counts sha256 {digest(scenes)}"})
