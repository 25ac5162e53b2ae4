"""Figures of the quickstart's report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from her_hf.scoring.statistics import wilson_interval

COLOURS = {"base": "#9aa5b1", "her-sft": "#2f6f9f"}
LABELS = {"base": "base, same prompt", "her-sft": "HER-SFT"}
LAYERS = {
    "system_thinking": "system\nthinking",
    "role_thinking": "role\nthinking",
    "role_action": "action",
    "speech": "speech",
    "structure": "tags, names,\nend of turn",
}


def draw_form(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Shares of well-formed replies and the like, with 95% intervals."""
    measures = {"well_formed": "well-formed", "own_role": "own role", "ended": "ended", "visible": "visible"}
    figure, axes = plt.subplots(figsize=(7.2, 3.6))
    width = 0.8 / len(models)
    for offset, (name, model) in enumerate(models.items()):
        figures = model["figures"]
        shares = [figures[key] for key in measures]
        bounds = [wilson_interval(share, figures["replies"]) for share in shares]
        errors = [
            [s - low for s, (low, _) in zip(shares, bounds, strict=True)],
            [high - s for s, (_, high) in zip(shares, bounds, strict=True)],
        ]
        places = [index + (offset - (len(models) - 1) / 2) * width for index in range(len(measures))]
        bars = axes.bar(
            places,
            shares,
            width,
            yerr=[[max(0.0, e) for e in side] for side in errors],
            capsize=3,
            color=COLOURS[name],
            label=f"{LABELS[name]} (n={figures['replies']})",
            error_kw={"linewidth": 1},
        )
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], label_type="center", fontsize=8, color="black")
    axes.set_xticks(range(len(measures)), measures.values())
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("share of replies")
    axes.set_title("Replies on the test split (bars: 95% Wilson intervals)", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _finish(figure, axes, path)


def draw_losses(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Held-out loss by layer."""
    layers = [layer for layer in LAYERS if all(layer in model["loss"] for model in models.values())]
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    width = 0.8 / len(models)
    for offset, (name, model) in enumerate(models.items()):
        values = [model["loss"][layer]["loss"] for layer in layers]
        places = [index + (offset - (len(models) - 1) / 2) * width for index in range(len(layers))]
        bars = axes.bar(places, values, width, color=COLOURS[name], label=LABELS[name])
        axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8)
    axes.set_xticks(range(len(layers)), [LAYERS[layer] for layer in layers], fontsize=8)
    axes.set_ylabel("nats a token")
    axes.set_title("Held-out loss by layer (test split; lower is better)", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    _finish(figure, axes, path)


def draw_training(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Training loss by step, with held-out loss where it was measured."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    train = [(row["step"], row["loss"]) for row in log if "loss" in row]
    held_out = [(row["step"], row["eval_loss"]) for row in log if "eval_loss" in row]
    if train:
        axes.plot(*zip(*train, strict=True), color=COLOURS["her-sft"], label="training")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), "o-", color="#c8553d", label="validation")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("nats a token")
    axes.set_title("HER-SFT training", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    _finish(figure, axes, path)


def draw_patterns(patterns: Mapping[str, Sequence[str]], path: Path, limit: int = 12) -> None:
    """The commonest patterns of the data and of each model."""
    total = Counter(pattern for values in patterns.values() for pattern in values if pattern)
    shown = [pattern for pattern, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:limit]]
    colours = {"data": "#d9b26f", **COLOURS}
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    width = 0.8 / len(patterns)
    for offset, (name, values) in enumerate(patterns.items()):
        seen = [value for value in values if value]
        shares = [seen.count(pattern) / len(seen) if seen else 0.0 for pattern in shown]
        places = [index + (offset - (len(patterns) - 1) / 2) * width for index in range(len(shown))]
        axes.bar(
            places, shares, width, color=colours[name], label=f"{LABELS.get(name, 'her-mini test')} (n={len(seen)})"
        )
    axes.set_xticks(range(len(shown)), shown, rotation=45, fontsize=8)
    axes.set_ylabel("share of turns")
    axes.set_title("Order of layers: T role thinking, A action, S speech", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    _finish(figure, axes, path)


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)
