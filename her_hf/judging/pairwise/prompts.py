"""Requests to pairwise judges: the long prompts, and the compact one for small models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from her_hf.dual_layer import ZERO_WIDTH_SPACE
from her_hf.inference import Message
from her_hf.template_files import load_template, template_source

from .circumstances import Circumstances, Spoken, candidate_body
from .pairs import Pair
from .principles import Principles

COMPACT_TURNS = 2
COMPACT_CARD, COMPACT_TURN = 80, 100
"""Most characters of the card and of each turn before the reply in the compact prompt."""

PROMPT_FILES = (
    *("_scene", "_principles", "_answer", "reward", "teacher", "pointwise"),
    *("compact", "compact_system"),
)


def _rendered(name: str, **variables: Any) -> str:
    return load_template(__package__, f"{name}.jinja").render(**variables).strip()


def pair_messages(pair: Pair, *, library: Principles | None = None, reasoning: bool = True) -> list[Message]:
    """The long prompt of the reward model, or of the teacher if a library of principles is given.

    Args:
        pair ([`~her_hf.judging.Pair`]): The pair, in the order in which it is shown.
        library ([`~her_hf.judging.Principles`], *optional*): Principles to judge by; by default the model finds its
            own.
        reasoning (`bool`, *optional*, defaults to `True`): Whether it is asked to think first.

    Returns:
        `list[dict]`: One user message. Candidates are in SELF view; the turns before in OTHERS, the character's own in
            SELF.
    """
    text = _rendered(
        "teacher" if library else "reward",
        **_shown(pair.circumstances),
        cand_1=_long(candidate_body(pair.cand_1, pair.character)),
        cand_2=_long(candidate_body(pair.cand_2, pair.character)),
        dimensions=_dimensions(library),
        reasoning=reasoning,
    )
    return [{"role": "user", "content": text}]


def single_messages(
    pair: Pair, side: str, *, library: Principles | None = None, reasoning: bool = True
) -> list[Message]:
    """The prompt to rate one side separately.

    Args:
        pair ([`~her_hf.judging.Pair`]): The pair.
        side (`str`): `"cand_1"` or `"cand_2"`.
        library, reasoning: See [`pair_messages`].
    """
    text = _rendered(
        "pointwise",
        **_shown(pair.circumstances),
        reply=_long(candidate_body(getattr(pair, side), pair.character)),
        dimensions=_dimensions(library),
        reasoning=reasoning,
    )
    return [{"role": "user", "content": text}]


def compact_messages(pair: Pair, *, reasoning: bool = True) -> list[Message]:
    """The compact prompt: some 300 tokens for replies of 60 words.

    The card and the turns before are shortened (an ellipsis shows where), the replies never are; they are in CoSER
    notation, which takes a fifth fewer tokens than tags.
    """
    scene = pair.circumstances
    text = _rendered(
        "compact",
        scene=replace(scene, character=_line(scene.character) or "?", card=_head(_line(scene.card), COMPACT_CARD)),
        turns=[
            Spoken(_line(turn.name), _tail(_line(candidate_body(turn.text, turn.name or "?", "coser")), COMPACT_TURN))
            for turn in scene.turns[-COMPACT_TURNS:]
        ],
        cand_1=_line(candidate_body(pair.cand_1, pair.character, "coser")),
        cand_2=_line(candidate_body(pair.cand_2, pair.character, "coser")),
        reasoning=reasoning,
    )
    return [
        {"role": "system", "content": _rendered("compact_system")},
        {"role": "user", "content": text},
    ]


def _shown(scene: Circumstances) -> dict[str, Any]:
    turns = [Spoken(_line(turn.name), _long(turn.text)) for turn in scene.turns]
    texts = {name: _long(getattr(scene, name)) for name in ("card", "scenario", "others", "prompt")}
    names = {name: _line(getattr(scene, name)) for name in ("character", "book")}
    return {"scene": replace(scene, turns=(), **texts, **names), "turns": turns}


def _dimensions(library: Principles | None) -> list[dict[str, Any]]:
    if library is None:
        return []
    return [{"name": name, "principles": library.of_dimension(key)} for key, name in library.dimensions.items()]


def _safe(text: str) -> str:
    """Text whose control tokens are broken up: a reply must not end the prompt that contains it."""
    return text.replace("<|", f"<{ZERO_WIDTH_SPACE}|")


def _long(text: str) -> str:
    """Text of several lines, indented after the first."""
    lines = (line.strip() for line in _safe(text).splitlines())
    return "\n  ".join(filter(None, lines))


def _line(text: str) -> str:
    return " ".join(_safe(text).split())


def _head(text: str, limit: int) -> str:
    """The beginning of a text, up to the end of a word."""
    return text if len(text) <= limit else text[:limit].rpartition(" ")[0].rstrip(" ,;:") + "…"


def _tail(text: str, limit: int) -> str:
    """The end of a text, from the beginning of a word."""
    return text if len(text) <= limit else "…" + text[-limit:].partition(" ")[2]


def prompts_used() -> Sequence[str]:
    """Texts of all prompt files and the limits of the compact prompt, for digests."""
    limits = f"{COMPACT_TURNS} turns of {COMPACT_TURN}, card of {COMPACT_CARD}"
    return [*(template_source(__package__, f"{name}.jinja") for name in PROMPT_FILES), limits]
