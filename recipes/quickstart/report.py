"""The quickstart's report: Markdown beside its figures, every number from `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.scoring.statistics import wilson_interval
from recipes.quickstart.figures import (
    LABELS,
    LAYERS,
    draw_form,
    draw_losses,
    draw_patterns,
    draw_training,
)
from recipes.quickstart.plan import Plan


def write_report(results: Mapping[str, Any], log: Sequence[Mapping[str, Any]], out: Path) -> Path:
    """Writes `report.md` and its PNG figures into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`: `settings`, `models`, `samples`, `patterns`, `seconds`.
        log (`Sequence[Mapping]`): The trainer's log, one mapping a logged step.
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report.
    """
    draw_form(results["models"], out / "form.png")
    draw_losses(results["models"], out / "loss.png")
    draw_training(log, out / "training.png")
    draw_patterns(results["patterns"], out / "patterns.png")
    parts = [_head(results), _form(results), _loss(results), _training(results), _patterns(results), _samples(results)]
    path = out / "report.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def _head(results: Mapping[str, Any]) -> str:
    settings, seconds, plan = results["settings"], results["seconds"], Plan.from_dict(results["plan"])
    sampled = "bfloat16 weights" if plan.bf16 else "float32 weights"
    loss = "float32 weights, bf16 autocast" if plan.bf16 else "float32 weights"
    sizing = "\n".join(f"- {line}" for line in plan.describe())
    return (
        "# HER-SFT quickstart\n\n"
        f"Base: {settings['base']}. Data: {settings['data']}. Training: {settings['train_replies']} replies of "
        f"{settings['train_scenes']} English scenes, {settings['steps']} optimizer steps, seed {settings['seed']}. "
        f"Evaluation: {plan.prompts} prompts from books that training never saw, answered once by the base and "
        f"{plan.draws} times by HER-SFT, sampled at temperature {settings['temperature']}, top-p {settings['top_p']}, "
        f"at most {settings['max_new_tokens']} tokens. Both models get the same prompts, opened with "
        "`<system_thinking>`.\n\n"
        f"Precision: training in {settings['trained_in']}; sampling in {sampled}; held-out loss in {loss}. "
        f"Device: {plan.device}. Commit: {_commits(settings['commits'])}.\n\n"
        f"How it was sized, for {plan.minutes:g} minutes:\n\n{sizing}\n\n"
        f"Time: {', '.join(f'{name} {value:.0f} s' for name, value in seconds.items())} "
        f"(sum {sum(seconds.values()):.0f} s, install not counted; a stage that a kill ended counts from its last "
        "start; measured by `make quickstart`).\n\n"
        "A model of 135 million parameters learns the form here, not the art: read the shares as a check that "
        "the method arrives, not as quality."
    )


def _commits(commits: Mapping[str, str | None]) -> str:
    """The commit that every stage was made by, or each stage's own if the code changed in between."""
    named = {stage: commit or "not a git checkout" for stage, commit in commits.items()}
    if len(set(named.values())) == 1:
        return next(iter(named.values()))
    return ", ".join(f"{stage} {commit}" for stage, commit in named.items())


def _share(figures: Mapping[str, Any], key: str) -> str:
    low, high = wilson_interval(figures[key], figures["replies"])
    return f"{figures[key]:.1%} [{low:.0%}, {high:.0%}]"


def _form(results: Mapping[str, Any]) -> str:
    rows = [
        [
            LABELS[name],
            m["figures"]["replies"],
            *(_share(m["figures"], k) for k in ("well_formed", "own_role", "ended")),
        ]
        for name, m in results["models"].items()
    ]
    issues = [
        [LABELS[name], ", ".join(f"{issue} {count}" for issue, count in m["figures"]["issues"].items()) or "none"]
        for name, m in results["models"].items()
    ]
    return (
        "## Form\n\nWell-formed: one closed system block, the own name's label, something visible, no parsing issue, "
        "ended by the end-of-turn token. In brackets: 95% Wilson intervals.\n\n"
        + _table(["model", "replies", "well-formed", "own role", "ended"], rows)
        + "\n\n![Shares](form.png)\n\n"
        + _table(["model", "issues (replies with each)"], issues)
    )


def _loss(results: Mapping[str, Any]) -> str:
    layers = [layer for layer in LAYERS if all(layer in m["loss"] for m in results["models"].values())]
    rows = [
        [layer.replace("_", " "), next(iter(results["models"].values()))["loss"][layer]["tokens"]]
        + [f"{m['loss'][layer]['loss']:.3f}" for m in results["models"].values()]
        for layer in layers
    ]
    names = [LABELS[name] for name in results["models"]]
    return (
        "## Held-out loss by layer\n\n" + _table(["layer", "tokens", *names], rows) + "\n\n![Loss by layer](loss.png)"
    )


def _training(results: Mapping[str, Any]) -> str:
    return "## Training\n\n![Training loss](training.png)"


def _patterns(results: Mapping[str, Any]) -> str:
    rows = []
    for name, m in results["models"].items():
        p = m["figures"]["patterns"]
        rows.append(
            [LABELS[name], p["count"], p["distinct"], f"{p['top'] or '-'} {p['top_share']:.0%}", f"{p['entropy']:.2f}"]
        )
    return (
        "## Pattern diversity\n\n"
        + _table(["model", "turns with a pattern", "distinct", "commonest", "entropy (nats)"], rows)
        + "\n\n![Patterns](patterns.png)"
    )


def _samples(results: Mapping[str, Any]) -> str:
    parts = ["## Replies side by side"]
    for sample in results["samples"]:
        head = f"### {sample['character']} in {sample['book']}, turn {sample['turn']}"
        blocks = [
            f"**{title}**\n\n{_fence(sample[key])}"
            for key, title in (
                ("before", "Before"),
                ("reference", "Reference"),
                ("base", LABELS["base"]),
                ("her-sft", LABELS["her-sft"]),
            )
        ]
        parts.append("\n\n".join([head, *blocks]))
    return "\n\n".join(parts)


def _fence(text: str) -> str:
    """A fenced block that no text can close early."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}text\n{text.strip()}\n{ticks}"
