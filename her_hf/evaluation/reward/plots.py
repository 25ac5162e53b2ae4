"""Plots of the reward evaluation: accuracy by group and calibration, of one model or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from her_hf.runs.report.headline import caption
from her_hf.runs.report.plots import GROUPS, OURS, finish
from her_hf.runs.report.shared import Results

_CHANCE = "#c8553d"


def has_models_to_draw(models: Mapping[str, Results]) -> bool:
    """Whether there is more to plot than a single bar."""
    return len(models) * len(_groups_of(models)) > 1 or _has_reliability(models)


def _has_reliability(models: Mapping[str, Results]) -> bool:
    counts = (sum(one["count"] > 0 for one in found["figures"]["calibration"]["bins"]) for found in models.values())
    return max(counts, default=0) > 1


def _groups_of(models: Mapping[str, Results]) -> list[tuple[str, str, str]]:
    """Label, table and name of each group of bars; the first is all pairs, which is not in a table."""
    tables = {"by_group": "{} kinds", "by_kind": "{}"}
    found = [("all pairs", "", "")]
    for name, label in tables.items():
        groups = sorted({group for one in models.values() for group in one["figures"][name]})
        found += [(label.format(group.replace("_", " ")), name, group) for group in groups]
    return found


def draw_models(models: Mapping[str, Results], path: Path) -> bool:
    """Plots accuracy with 95% Wilson intervals, in total and by kind, and calibration, for one or several models.

    Args:
        models (`Mapping[str, Mapping]`): Name to the contents of `results.json`.
        path (`Path`): The PNG.

    Returns:
        `bool`: Whether it was plotted; see [`has_models_to_draw`].
    """
    path.unlink(missing_ok=True)
    if not has_models_to_draw(models):
        return False
    groups = _groups_of(models)
    bars, curve = len(models) * len(groups) > 1, _has_reliability(models)
    with rc_context({"text.parse_math": False}):
        drawing = Figure(figsize=(11.0 if bars and curve else 6.5, _height(len(groups), len(models))))
        ratios = [7] * bars + [4] * curve
        panels = list(drawing.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0])
        if bars:
            _draw_accuracy(panels[0], models, groups)
        if curve:
            _draw_calibration(panels[-1], models)
        if len(models) > 1:
            panels[0].legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(models))
        for axes in panels:
            axes.set_axisbelow(True)
        finish(drawing, path, "; ".join(map(caption, models.values())))
    return True


def _height(groups: int, models: int) -> float:
    return max(4.0, 0.32 * groups * (0.5 + 0.5 * models))


def _colour(number: int, models: int) -> str:
    return OURS if models == 1 else GROUPS[number % len(GROUPS)]


def _draw_accuracy(axes: Any, models: Mapping[str, Results], groups: Sequence[tuple[str, str, str]]) -> None:
    height = 0.8 / len(models)
    for number, (name, found) in enumerate(models.items()):
        figures = found["figures"]
        whole = {"accuracy": figures["accuracy"], "interval": found["intervals"]["accuracy"]}
        own = [figures[table].get(group) if table else whole for _, table, group in groups]
        shift = (number - (len(models) - 1) / 2) * height
        _draw_bars(axes, own, shift, height, _colour(number, len(models)), name)
    axes.axvline(50, color=_CHANCE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(groups)), [label for label, _, _ in groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 105)
    axes.set_xlabel("accuracy, % (lines: 95% Wilson intervals; dashed: chance of two sides)")


def _draw_calibration(axes: Any, models: Mapping[str, Results]) -> None:
    for number, (name, found) in enumerate(models.items()):
        bins = found["figures"]["calibration"]["bins"]
        _draw_reliability(axes, bins, _colour(number, len(models)), name)
    axes.plot([0, 100], [0, 100], color=_CHANCE, linestyle="--", linewidth=1)
    axes.set_xlim(0, 102)
    axes.set_ylim(0, 105)
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("accuracy, %")
    axes.set_title("calibration", fontsize=10)


def _draw_bars(
    axes: Any, groups: Sequence[Mapping[str, Any] | None], shift: float, height: float, colour: str, name: str
) -> None:
    for place, own in enumerate(groups):
        if own is None or own["accuracy"] is None:
            continue
        share, (low, high) = 100 * own["accuracy"], own["interval"]
        axes.barh(place + shift, share, height * 0.94, color=colour, label=name if place == 0 else None)
        error = [[max(0.0, share - 100 * low)], [max(0.0, 100 * high - share)]]
        axes.errorbar(share, place + shift, xerr=error, color="black", capsize=2, linewidth=0.8)


def _draw_reliability(axes: Any, bins: Sequence[Mapping[str, Any]], colour: str, name: str) -> None:
    full = [one for one in bins if one["count"]]
    axes.plot(
        [100 * one["confidence"] for one in full],
        [100 * one["accuracy"] for one in full],
        marker="o",
        color=colour,
        label=name,
    )
