"""Plots of evaluations: scores of the run with intervals, and published scores in a separate panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import PILLARS
from her_hf.scoring.published import PUBLISHED
from her_hf.scoring.statistics import bootstrap_interval

from .headline import caption

OURS, GREY, SOFT = "#2f6f9f", "#c3cad1", "#5c6670"
GROUPS = ("#2f6f9f", "#d9b26f", "#7a9e7e", "#c8553d", "#8d7fb0", "#9aa5b1")
NOTE = "published, different judge"
NO_TAG = "(none)"

_STYLE = {"text.parse_math": False, "hatch.linewidth": 0.6}  # names may contain dollar signs


class Bar(NamedTuple):
    """One bar.

    Args:
        label (`str`): Its label.
        score (`float`, *optional*): Its height, 0 to 100; `None` without a score.
        interval (`Sequence[float]`, *optional*): Both ends of its 95% interval.
    """

    label: str
    score: float | None
    interval: Sequence[float] | None = None


def draw_scores(results: Mapping[str, Any], path: Path) -> None:
    """Plots scores of a CoSER run with intervals, next to the published averages.

    Args:
        results (`Mapping`): Contents of `results.json`, judged.
        path (`Path`): The PNG.
    """
    scores, intervals = results["figures"]["scores"], results["intervals"]
    ours = [Bar(name, scores[name], intervals[name]) for name in (*DIMENSIONS, "avg")]
    theirs = [Bar(row.model, row.coser.avg) for row in PUBLISHED]
    _draw_beside(ours, theirs, path, "CoSER score", "CoSER average", caption(results))


def draw_by_tag(results: Mapping[str, Any], path: Path) -> bool:
    """Plots scores by tag (id, ood) with 95% intervals over the scenes of each.

    Args:
        results (`Mapping`): Contents of `results.json`, judged.
        path (`Path`): The PNG.

    Returns:
        `bool`: Whether it was plotted; see [`has_tags_to_draw`].
    """
    path.unlink(missing_ok=True)
    if not has_tags_to_draw(results):
        return False
    tables = results["figures"]["by_tag"]
    groups = {
        f"{tag} ({scenes} scenes)": [
            Bar(name, tables[tag]["scores"][name], interval) for name, interval in intervals.items()
        ]
        for tag, (scenes, intervals) in tag_intervals(results["cases"]).items()
    }
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.subplots()
        _draw_groups(axes, groups)
        axes.set_ylabel("CoSER score")
        axes.set_title("By tag (lines: 95% bootstrap intervals over scenes)", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        finish(figure, path, caption(results))
    return True


def has_tags_to_draw(results: Mapping[str, Any]) -> bool:
    """Whether the scenes have several tags, and at most as many as there are colours."""
    tags = {case["tag"] or NO_TAG for case in results["cases"]}
    return 2 <= len(tags) <= len(GROUPS)


def has_curve_to_draw(results: Mapping[str, Any]) -> bool:
    """Whether the curve has more than one point."""
    return len(results["figures"]["curve"]) > 1


def tag_intervals(cases: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, dict[str, Sequence[float] | None]]]:
    """The number of scenes of each tag, and the 95% intervals of each dimension and the average over them.

    Args:
        cases (`Sequence[Mapping]`): `cases` of `results.json`.
    """
    found: dict[str, tuple[int, dict[str, Sequence[float] | None]]] = {}
    for tag in sorted({case["tag"] or NO_TAG for case in cases}):
        rows = [[case[name] for name in DIMENSIONS] for case in cases if (case["tag"] or NO_TAG) == tag]
        columns = {name: bootstrap_interval([row[at] for row in rows]) for at, name in enumerate(DIMENSIONS)}
        found[tag] = len(rows), {**columns, "avg": bootstrap_interval(rows)}
    return found


def draw_pillars(results: Mapping[str, Any], path: Path) -> None:
    """Plots scores of a minimax run with intervals, next to the published averages with theirs.

    Args:
        results (`Mapping`): Contents of `results.json`, judged.
        path (`Path`): The PNG.
    """
    scores, intervals = results["figures"]["scores"], results["intervals"]
    ours = [Bar("overall", scores["overall"], intervals["overall"])]
    for name in PILLARS:
        ours.append(Bar(name, (scores["pillars"] or {}).get(name), (intervals["pillars"] or {}).get(name)))
    ranked = sorted(PUBLISHED, key=lambda row: -row.minimax.avg)
    theirs = [Bar(row.model, row.minimax.avg, (row.minimax.low, row.minimax.high)) for row in ranked]
    _draw_beside(ours, theirs, path, "score (own scale)", "MiniMax average", caption(results))


def draw_curve(results: Mapping[str, Any], path: Path) -> None:
    """Plots quality against turn number: all dialogues with 95% intervals over seeds, and each language.

    Args:
        results (`Mapping`): Contents of `results.json`, judged.
        path (`Path`): The PNG.
    """
    path.unlink(missing_ok=True)
    if not has_curve_to_draw(results):
        return
    points = results["figures"]["curve"]
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.subplots()
        _draw_line(axes, points, "all", color=OURS, marker="o", linewidth=2)
        ends = curve_intervals(results["cases"], len(points))
        inside = [(at, point["mean"], *end) for at, (point, end) in enumerate(zip(points, ends, strict=True)) if end]
        for place, mean, low, high in inside:
            error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            axes.errorbar(place, mean, error, color=OURS, capsize=3, linewidth=1)
        languages = results["figures"]["by_language"]
        if len(languages) > 1:
            for number, (name, found) in enumerate(languages.items(), start=1):
                _draw_line(axes, found["curve"], name, color=GROUPS[number % len(GROUPS)], linestyle="--", marker=".")
        labels = [f"{point['first_turn']}–{point['last_turn']}\nn={point['n']}" for point in points]
        axes.set_xticks(range(len(points)), labels, fontsize=8)
        axes.set_xlim(-0.4, max(len(points), 1) - 0.6)
        axes.set_ylim(_floor(points, ends), 102)
        axes.set_xlabel("turns (n: dialogues judged)")
        axes.set_ylabel("overall (own scale)")
        axes.set_title("Quality against turn number (lines: 95% bootstrap intervals over seeds)", fontsize=10)
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        finish(figure, path, caption(results))


def curve_intervals(cases: Sequence[Mapping[str, Any]], places: int) -> list[Sequence[float] | None]:
    """The 95% interval of the mean over dialogues at each chunk position; seeds are resampled with all their runs.

    Args:
        cases (`Sequence[Mapping]`): `cases` of `results.json`.
        places (`int`): Number of chunk positions.
    """
    import numpy as np

    seeds: dict[tuple[str, str], list[Sequence[float | None]]] = {}
    for case in cases:
        seeds.setdefault((case["language"], case["seed_id"]), []).append(case["chunks"])
    longest = max(map(len, seeds.values()), default=0)
    found: list[Sequence[float] | None] = []
    for place in range(places):
        rows = [[run[place] if place < len(run) else None for run in runs] for runs in seeds.values()]
        padded = [row + [None] * (longest - len(row)) for row in rows]
        found.append(bootstrap_interval(padded, lambda array: float(np.nanmean(array))))
    return found


def _floor(points: Sequence[Mapping[str, Any]], ends: Sequence[Sequence[float] | None]) -> float:
    """The lower limit of the axis of a curve: a round number below all values, because a line shows changes."""
    lows = [point["mean"] for point in points if point["mean"] is not None] + [end[0] for end in ends if end]
    return max(0.0, (min(lows, default=0.0) - 5) // 10 * 10)


def _draw_line(axes: Any, points: Sequence[Mapping[str, Any]], name: str, **look: Any) -> None:
    """Plots means by position; one without a mean is a gap."""
    means = [float("nan") if point["mean"] is None else point["mean"] for point in points]
    axes.plot(range(len(points)), means, label=_short(name), **look)


def _draw_beside(
    ours: Sequence[Bar], theirs: Sequence[Bar], path: Path, what: str, published: str, under: str
) -> None:
    """Plots scores of the run on the left, and published ones, grey and hatched, on the right."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 4.2))
        left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [5, 11]})
        _draw_bars(left, ours, color=OURS)
        left.set_xticks(range(len(ours)), [f"{bar.label}\n{_shown(bar.score)}" for bar in ours], fontsize=8)
        left.set_ylabel(what)
        left.set_title("this run (95% bootstrap intervals)", fontsize=10)
        _draw_bars(right, theirs, color=GREY, hatch="///", edgecolor="white")
        for place, bar in enumerate(theirs):
            top = bar.interval[1] if bar.interval else bar.score or 0
            right.annotate(_shown(bar.score), (place, top), (0, 2), **_ABOVE)
        right.set_xticks(range(len(theirs)), [bar.label for bar in theirs], fontsize=7.5, rotation=40, ha="right")
        right.set_title(f"{NOTE} and protocol: {published} (HER, arXiv 2601.21459)", fontsize=10, color=SOFT)
        right.set_facecolor("#f6f7f8")
        right.tick_params(colors=SOFT)
        finish(figure, path, under)


_ABOVE: dict[str, Any] = {
    "textcoords": "offset points",
    "ha": "center",
    "fontsize": 7,
    "color": SOFT,
    "annotation_clip": False,
}


def _draw_groups(axes: Any, groups: Mapping[str, Sequence[Bar]]) -> None:
    """Plots bars of several groups under shared labels."""
    width = 0.8 / len(groups)
    labels = [bar.label for bar in next(iter(groups.values()))]
    for number, (name, bars) in enumerate(groups.items()):
        shift = (number - (len(groups) - 1) / 2) * width
        _draw_bars(axes, bars, width=width * 0.94, shift=shift, color=GROUPS[number % len(GROUPS)], label=_short(name))
    axes.set_xticks(range(len(labels)), labels, fontsize=8)


def _draw_bars(axes: Any, bars: Sequence[Bar], *, width: float = 0.72, shift: float = 0.0, **look: Any) -> None:
    """Plots bars from 0 to 100 with intervals; a missing score is labelled."""
    places = [place + shift for place in range(len(bars))]
    axes.bar(places, [bar.score or 0.0 for bar in bars], width, **look)
    for place, bar in zip(places, bars, strict=True):
        if bar.score is None:
            axes.text(place, 2, "no score", rotation=90, ha="center", va="bottom", fontsize=7, color=SOFT)
        elif bar.interval:
            low, high = bar.interval
            error = [[max(0.0, bar.score - low)], [max(0.0, high - bar.score)]]
            axes.errorbar(place, bar.score, error, color="black", capsize=3, linewidth=1)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.set_ylim(0, 105)


def _shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.1f}"


def _short(name: str, limit: int = 40) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def finish(figure: Figure, path: Path, under: str) -> None:
    """Writes a plot with a caption: model, judge, setting and missing share."""
    figure.supxlabel(
        "\n".join(wrap(under, int(17 * figure.get_figwidth()))), x=0.01, ha="left", fontsize=7, color=SOFT
    )
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
