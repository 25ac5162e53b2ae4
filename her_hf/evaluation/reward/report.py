"""The report of the reward evaluation: accuracy by kind, position bias, ties, calibration; comparison of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from her_hf.durable import replace_text
from her_hf.runs.report.markdown import counted, escape, name_of, percent, table
from her_hf.runs.report.shared import (
    Flag,
    Results,
    Section,
    missing_first,
    missing_section,
    model_flags,
    option_flags,
    reproduce_section,
    write_report,
)

from ..cards import card_of, replace_section
from .plots import draw_models, has_models_to_draw
from .transcripts import reward_transcripts

PLOT, MODELS_PLOT = "reward.png", "models.png"


def write_reward_report(results: Results, out: Path) -> Path:
    """Writes `report.md`, `report.html` and the plot into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.runs.envelope.RewardResults`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Without a verdict on a labelled pair it has no figures and says why.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections: list[Section] = [_head, missing_first]
    if results["counts"]["pairs"]:
        draw_models({"this judge": results}, out / PLOT)
        sections += [_accuracy, _groups, _place, _calibration]
    return write_report(
        results,
        out,
        opening=sections,
        closing=[_answers, _circumstances, _lost, _reproduce],
        transcripts=reward_transcripts(results, out),
    )


def _head(results: Results) -> str:
    settings = results["settings"]
    method = f"{settings['comparison']}, principles {settings['principles'].replace('_', ' ')}"
    return (
        "# Reward model\n\n"
        f"**{name_of(settings.get('model'))}** judged {counted(results['counts']['pairs'], 'labelled pair')} "
        f"({method}, read: {_read(settings)}; {'both orders' if settings['both_orders'] else 'one order'})."
    )


def _read(settings: Mapping[str, Any]) -> str:
    if settings["read"] == "probability":
        return "verdict probabilities"
    return f"generated answer, {'with reasoning' if settings['reasoning'] else 'without reasoning'}"


def _accuracy(results: Results) -> str:
    figures = results["figures"]
    ties, agreement = figures["ties"], figures["agreement"]
    rows = [
        [
            "accuracy (a tie is wrong if the label names a side)",
            _percent(figures["accuracy"]),
            _ends(results["intervals"]["accuracy"]),
        ],
        ["accuracy, without ties of the judge", _percent(figures["accuracy_decided"]), ""],
        ["accuracy, a tie counts as one half", _percent(figures["half_credit"]), ""],
        ["accuracy of single orders", _percent(figures["per_order_accuracy"]), ""],
        ["ties: judge / labels", f"{_percent(ties['judge'])} / {_percent(ties['labels'])}", ""],
        ["Cohen's kappa", _number(agreement["kappa"]), ""],
        ["Krippendorff's alpha (nominal)", _number(agreement["alpha"]), ""],
    ]
    head = ["figure", "value", "95% interval (Wilson)"]
    plot = f"\n\n![Accuracy by kind, and calibration]({PLOT})" if has_models_to_draw({"": results}) else ""
    return f"## Accuracy\n\n{table(head, rows)}{plot}"


def _groups(results: Results) -> str:
    parts = []
    titles = {
        "by_group": "By whether the kind of defect is in the training data",
        "by_kind": "By kind of defect",
        "by_source": "By author of the losing side",
        "by_length": "By length of the better reply relative to the other (like: within 5%; much: at least 20%)",
    }
    for name, title in titles.items():
        if results["figures"][name]:
            parts.append(f"## {title}\n\n{_group_table(results['figures'][name])}")
    return "\n\n".join(parts)


def _group_table(groups: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(name),
            own["pairs"],
            _percent(own["accuracy"]),
            _ends(own["interval"]),
            _percent(own["half_credit"]),
            _percent(own["position_consistency"]),
        ]
        for name, own in groups.items()
    ]
    return table(
        ["group", "pairs", "accuracy", "95% interval", "accuracy, a tie counts as one half", "orders agree"], rows
    )


def _place(results: Results) -> str:
    return (
        "## Position\n\n"
        f"Both orders agree on {_percent(results['figures']['position_consistency'])} of the pairs judged in both; if "
        "they disagree, the verdict is a tie (with probabilities: the verdict with the highest mean). Single verdicts "
        f"prefer the reply shown first in {_percent(results['figures']['first_position'])} of cases (50% without "
        "bias)."
    )


def _calibration(results: Results) -> str:
    found = results["figures"]["calibration"]
    rows = [
        [f"{one['low']:.1f} to {one['high']:.1f}", one["count"], _number(one["confidence"]), _percent(one["accuracy"])]
        for one in found["bins"]
    ]
    return (
        "## Calibration\n\n"
        f"Expected calibration error: {_number(found['error'])}. Confidence is the mean probability of the verdict "
        "over the orders if probabilities were read, else the share of compared principles in favour of it.\n\n"
        + table(["confidence", "verdicts", "mean confidence", "accuracy"], rows)
    )


def _answers(results: Results) -> str:
    answers, unreadable = results["counts"], results["figures"]["first_unreadable_share"]
    if answers["first_unreadable"] is None:
        return (
            "## Answers\n\n"
            f"{counted(answers['orders'], 'order')} read as probabilities, so there are no unreadable answers. "
            "`--read text` measures their share."
        )
    return (
        "## Answers\n\n"
        f"{counted(answers['orders'], 'order')} answered. Unreadable first answers: {answers['first_unreadable']} "
        f"({_percent(unreadable)}). Repaired answers: {answers['repaired']}."
    )


def _circumstances(results: Results) -> str:
    count = results["counts"]["circumstances_from_prompt"]
    if not count:
        return ""
    return (
        "## Circumstances\n\n"
        f"{counted(count, 'pair')} without circumstances: the scene shown to the judge was parsed from the prompt, "
        "which works for HER's scene prompt. With `--scenes` it comes from the scenes that the pairs name."
    )


def _lost(results: Results) -> str:
    failures = results["missing"]["failures"]
    first = [f"The first: {escape(failures[0]['detail'], limit=300)}"] if failures else []
    return missing_section(results, *first)


def _reproduce(results: Results) -> str:
    settings = results["settings"]
    url, name = model_flags("model", settings.get("model"))
    flags: list[Flag] = [url, ("--model-name", name[1]), ("--pairs", "PAIRS")]
    names = ("form", "comparison", "read", "attempts", "max_tokens", "temperature", "seed")
    flags += option_flags(settings, {name: f"--{name.replace('_', '-')}" for name in names})
    flags.append(("--principles", settings["principles"]))
    flags += [(("--reasoning" if settings["reasoning"] else "--no-reasoning"), None)]
    flags += [] if settings["both_orders"] else [("--no-both-orders", None)]
    flags += [("--unseen", kind) for kind in settings["unseen"]]
    return reproduce_section("reward", "pairs", [[*flags, ("--out", "DIR")]])


# -- several models


def comparison_table(models: Mapping[str, Results]) -> str:
    """The main figures of several models as a Markdown table.

    Args:
        models (`Mapping[str, Mapping]`): Name to the contents of `results.json`, all of the same pairs.
    """
    groups = sorted({name for found in models.values() for name in found["figures"]["by_group"]})
    head = ["model", "reading", "accuracy", *(f"{name} kinds" for name in groups), "orders agree"]
    head += ["accuracy, a tie counts as one half", "unreadable first answers", "missing", "calibration error"]
    rows = [
        [
            escape(name),
            _read(found["settings"]),
            f"{_percent(found['figures']['accuracy'])} {_ends(found['intervals']['accuracy'])}",
            *(_grouped(found["figures"]["by_group"].get(group)) for group in groups),
            _percent(found["figures"]["position_consistency"]),
            _percent(found["figures"]["half_credit"]),
            _percent(found["figures"]["first_unreadable_share"]),
            percent(found["missing"]["share"]),
            _number(found["figures"]["calibration"]["error"]),
        ]
        for name, found in models.items()
    ]
    return table(head, rows)


def write_comparison(models: Mapping[str, Results], out: Path) -> Path:
    """Writes `models.md` with its plot `models.png` into `out`: a table of several models on the same pairs.

    Args:
        models (`Mapping[str, Mapping]`): Name to the contents of `results.json`.
        out (`Path`): The folder.

    Raises:
        `ValueError`: If the models did not judge the same pairs.
    """
    if len({(found["settings"]["pairs"], found["settings"]["labels"]) for found in models.values()}) > 1:
        raise ValueError(
            f"{', '.join(models)} judged different pairs or labels, so their figures are not comparable: name runs on "
            "the same pairs"
        )
    drawn = draw_models(models, out / MODELS_PLOT)
    file = out / "models.md"
    plot = f"\n\n![Accuracy by kind]({MODELS_PLOT})" if drawn else ""
    replace_text(file, f"# Reward models on the same pairs\n\n{comparison_table(models)}{plot}\n")
    return file


def write_reward_section(folder: Path, results: Results) -> Path:
    """Writes the figures and the plot of a run into the model card of a checkpoint; earlier ones are replaced.

    Args:
        folder (`Path`): A checkpoint with its card, `README.md`.
        results (`Mapping`): Contents of `results.json`.

    Returns:
        `Path`: The card.

    Raises:
        `FileNotFoundError`: If the folder has no card.
    """
    card, models = card_of(folder), {"this model": results}
    plot = f"\n\n![Accuracy by kind, and calibration]({PLOT})" if draw_models(models, folder / PLOT) else ""
    section = (
        "## Measured on labelled pairs\n\nBy `her-hf eval reward`; intervals are 95% Wilson. Labels are those of the "
        f"pairs, which are not human votes unless their card states it.\n\n{comparison_table(models)}{plot}"
    )
    replace_section(card, "her-hf eval reward", section)
    return card


def _grouped(own: Mapping[str, Any] | None) -> str:
    return "–" if own is None else f"{_percent(own['accuracy'])} {_ends(own['interval'])}"


def _ends(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1%}, {ends[1]:.1%}]" if ends else "–"


def _percent(value: float | None) -> str:
    return "–" if value is None else percent(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
