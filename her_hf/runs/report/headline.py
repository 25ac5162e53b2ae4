"""The summary of any results: models, settings, missing share and main figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import PILLARS

from .markdown import counted, plain_name

Results = Mapping[str, Any]

PLAYERS = {"coser": "actor", "minimax": "npc", "form": "model", "reward": "model"}
"""The setting that names the model under test, by evaluation."""

TITLES = {
    "coser": "CoSER, given-circumstance acting",
    "minimax": "MiniMax-style role-play",
    "form": "Dual-layer form",
    "reward": "Reward model",
}

SHARES = {
    "well_formed": "well-formed",
    "own_role": "in role",
    "ended": "end-of-turn token",
    "visible": "visible",
    "leak_rate": "leak",
}
"""Main figures of form, with their labels."""


class Figure(NamedTuple):
    """A formatted figure.

    Args:
        name (`str`): Its name.
        value (`str`): Its value with the unit.
        interval (`str`): Its 95% interval; empty if there is none.
        of (`str`): What it is a mean over.
    """

    name: str
    value: str
    interval: str
    of: str


def headline(results: Results) -> list[Figure]:
    """The main figures, the overall one first; empty without judgements or replies.

    Args:
        results (`Mapping`): The envelope, see [`~her_hf.runs.envelope`].
    """
    by_name: dict[str, Callable[[Results], list[Figure]]] = {
        "coser": _coser,
        "minimax": _minimax,
        "form": _form,
        "reward": _reward,
    }
    return by_name[results["evaluation"]](results)


def _coser(results: Results) -> list[Figure]:
    scores, ends = results["figures"]["scores"], results["intervals"]
    if scores is None:
        return []
    scored = results["counts"]["judged"]["scored"]
    rest = [
        Figure(name, _points(scores[code]), _ends(ends[code]), counted(scored[code], "scene"))
        for code, name in DIMENSIONS.items()
    ]
    return [Figure("average", _points(scores["avg"]), _ends(ends["avg"]), ""), *rest]


def _minimax(results: Results) -> list[Figure]:
    scores, ends = results["figures"]["scores"], results["intervals"]
    if scores is None:
        return []
    of = counted(results["counts"]["judged"]["seeds"], "seed")
    whole = Figure("overall", _points(scores["overall"]), _ends(ends["overall"]), of)
    pillars = scores["pillars"] or {}
    return [whole, *(Figure(name, _points(pillars.get(name)), _ends(ends["pillars"][name]), of) for name in PILLARS)]


def _form(results: Results) -> list[Figure]:
    figures, ends = results["figures"], results["intervals"]
    if not figures:
        return []
    of = counted(figures["replies"], "reply", "replies")
    return [Figure(label, _percent(figures[name]), _percents(ends[name]), of) for name, label in SHARES.items()]


def _reward(results: Results) -> list[Figure]:
    figures, pairs = results["figures"], results["counts"]["pairs"]
    if not pairs:
        return []
    of = counted(pairs, "pair")
    names = {"half_credit": "accuracy, a tie counts as one half", "position_consistency": "orders agree"}
    whole = Figure("accuracy", _percent(figures["accuracy"]), _percents(results["intervals"]["accuracy"]), of)
    groups = [
        Figure(f"{name} kinds", _percent(own["accuracy"]), _percents(own["interval"]), counted(own["pairs"], "pair"))
        for name, own in figures["by_group"].items()
    ]
    return [whole, *groups, *(Figure(label, _percent(figures[name]), "", of) for name, label in names.items())]


def facts(results: Results) -> list[tuple[str, str]]:
    """Model, judge, setting, data and missing share as plain text."""
    settings, missing = results["settings"], results["missing"]
    data = settings.get("data") or {}
    where = ", ".join([data.get("source") or "not recorded", *([data["split"]] if data.get("split") else [])])
    judges = judges_of(results)
    return [
        ("model", player_of(results)),
        *([("judge", judges)] if judges else []),
        ("setting", setting_of(results)),
        ("data", f"{where} ({data['count']:,})" if data else where),
        ("missing", missing_share(missing)),
    ]


def player_of(results: Results) -> str:
    """The model under test, or the file of existing dialogues."""
    settings = results["settings"]
    return plain_name(settings.get(PLAYERS[results["evaluation"]]) or settings.get("dialogues") or "not recorded")


def judges_of(results: Results) -> str:
    """The judges; empty without any."""
    settings = results["settings"]
    judges: Sequence[object] = settings.get("judges") or ([settings["judge"]] if settings.get("judge") else [])
    return ", ".join(map(plain_name, judges))


def setting_of(results: Results) -> str:
    """The main settings in a few words."""
    settings = results["settings"]
    names = {"style": "style {}", "rounds": "at most {} turns", "turns": "{} turns", "runs": "{} runs per seed"}
    names |= {"comparison": "{}", "read": "read as {}", "judge_chunk": "chunks of {} turns"}
    parts = [form.format(settings[name]) for name, form in names.items() if settings.get(name) is not None]
    if "judge_thoughts" in settings:
        parts.append("judges see thoughts" if settings["judge_thoughts"] == "her" else "judges see no thoughts")
    return ", ".join(parts) or "not recorded"


def missing_share(missing: Results) -> str:
    """The missing share with its unit."""
    unit = {"reply": "replies"}.get(missing["unit"], f"{missing['unit']}s")
    if not missing["missing"]:
        return f"none of {missing['expected']:,} {unit}"
    return f"{missing['share']:.1%} of {missing['expected']:,} {unit}"


def caption(results: Results) -> str:
    """The caption of a plot: model, judge, setting and missing share."""
    judges = judges_of(results)
    model = f"model: {_short(player_of(results))}"
    parts = [model, *([f"judge: {_short(judges)}"] if judges else []), setting_of(results)]
    return "; ".join([*parts, f"missing: {missing_share(results['missing'])}"])


def _short(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _ends(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1f}, {ends[1]:.1f}]" if ends else ""


def _percents(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1%}, {ends[1]:.1%}]" if ends else ""
