"""Pairs of replies to one prompt, with the circumstances in which they were given, and their two orders.

On disk a pair is a JSON line of `prompt` (messages of the character's own conversation), `cand_1`, `cand_2` (texts),
`label`, `character` and `circumstances` (`book`, `card`, `scenario`, `others`, `turns`). Rows of a preference set
(`prompt`, `chosen`, `rejected`) become pairs with an order drawn from their own text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from her_hf.durable import digest
from her_hf.inference import Message
from her_hf.scenes.errors import shortened

from .circumstances import Circumstances, candidate_body, read_circumstances
from .from_prompt import character_of, circumstances_from_prompt
from .rows import check_prompt, listed, pair_row, text_of

VERDICTS = ("cand_1", "cand_2", "tie")

_SIDE = re.compile(r"cand_([12])")
_KNOWN = ("prompt", "cand_1", "cand_2", "label", "character", "principles", "evidence", "circumstances")


@dataclass(frozen=True, slots=True)
class Compared:
    """One principle and the side that wins it.

    Args:
        name (`str`): The judge's name for it.
        winner (`str`): `"cand_1"`, `"cand_2"` or `"tie"`.
        reason (`str`, *optional*): Why.
    """

    name: str
    winner: str
    reason: str = ""

    def swapped(self) -> Compared:
        """The same for the pair in the other order."""
        return replace(self, winner=str(swap(self.winner)))


@dataclass(frozen=True)
class Pair:
    """Two replies to one prompt.

    Args:
        prompt (`tuple[dict, ...]`): Messages up to the reply, as `Scene.messages_for` gives them.
        cand_1, cand_2 (`str`): The replies.
        label (`str`, *optional*): Which is better: `"cand_1"`, `"cand_2"` or `"tie"`; `None` if it is not known.
        character (`str`): Who replies.
        principles (`tuple[Compared, ...]`, *optional*): The winner under each principle, according to whoever
            labelled the pair.
        evidence (`str`, *optional*): The reasons for the label, with the names `cand_1` and `cand_2`.
        extra (`Mapping`, *optional*): All other fields of the row (`kind`, `source`, `scene_key`, …).
        carried ([`Circumstances`], *optional*): What the replies answer, as the maker of the pair wrote it; `None` for
            a pair of another source, whose circumstances are read out of the prompt.

    Raises:
        `ValueError`: If a side is empty, both sides are the same, the prompt is not a conversation that ends where
            a reply begins, the label is not one of the three, or the circumstances are those of another character; the
            message says what was got.
    """

    prompt: tuple[Message, ...]
    cand_1: str
    cand_2: str
    label: str | None = None
    character: str = ""
    principles: tuple[Compared, ...] = ()
    evidence: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    carried: Circumstances | None = None

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        shown = {name: candidate_body(getattr(self, name), self.character) for name in ("cand_1", "cand_2")}
        for name, body in shown.items():
            if not body.strip():
                raise ValueError(f"{name} is empty except for hidden text: there is nothing to judge")
        if len({" ".join(body.split()) for body in shown.values()}) == 1:
            raise ValueError(
                f"both sides are the same text ({shortened(self.cand_1, 60)!r}): there is nothing to compare"
            )
        if self.label is not None and self.label not in VERDICTS:
            raise ValueError(f"label must be one of {list(VERDICTS)} or absent, got {self.label!r:.60}")
        if self.carried is not None and self.carried.character != self.character:
            raise ValueError(
                f"the circumstances are those of {self.carried.character!r:.60}, but {self.character!r:.60} replies"
            )

    @classmethod
    def from_row(cls, row: Any, *, seed: int = 42) -> Pair:
        """Reads a row of a pairs file, or of a preference set, whose order is then drawn.

        Args:
            row (`Mapping`): The row.
            seed (`int`, *optional*, defaults to 42): Of the order, together with the row's own text.

        Raises:
            `ValueError`: If it is not a pair; the message says what is wrong.
        """
        if not isinstance(row, Mapping):
            raise ValueError(f"must be a JSON object, got {type(row).__name__}")
        if "chosen" in row and "rejected" in row:
            row = pair_row(row, seed)
        missing = [name for name in ("prompt", "cand_1", "cand_2") if row.get(name) is None]
        if missing:
            raise ValueError(f"lacks {missing}: a pair needs prompt, cand_1 and cand_2, got {sorted(map(str, row))}")
        prompt = row["prompt"]
        if not isinstance(prompt, Sequence) or isinstance(prompt, str):
            raise ValueError(f"prompt must be a list of messages, got {type(prompt).__name__}")
        label = row.get("label")
        character = str(row.get("character") or character_of(prompt))
        carried = row.get("circumstances")
        return cls(
            tuple(dict(message) if isinstance(message, Mapping) else message for message in prompt),
            text_of(row["cand_1"], "cand_1"),
            text_of(row["cand_2"], "cand_2"),
            label if label is None else str(label),
            character,
            _compared(row.get("principles") or ()),
            str(row.get("evidence") or ""),
            {name: value for name, value in row.items() if name not in _KNOWN},
            carried=None if carried is None else read_circumstances(carried, character),
        )

    def swapped(self) -> Pair:
        """The same pair in the other order, with everything that refers to its sides."""
        return replace(
            self,
            cand_1=self.cand_2,
            cand_2=self.cand_1,
            label=swap(self.label),
            principles=tuple(one.swapped() for one in self.principles),
            evidence=swap_names(self.evidence),
        )

    def to_row(self) -> dict[str, Any]:
        """The pair as a line of a pairs file."""
        return {
            "prompt": [dict(message) for message in self.prompt],
            "cand_1": self.cand_1,
            "cand_2": self.cand_2,
            "label": self.label,
            "character": self.character,
            "principles": [asdict(one) for one in self.principles],
            "evidence": self.evidence,
            **({} if self.carried is None else {"circumstances": self.carried.to_row()}),
            **self.extra,
        }

    @cached_property
    def circumstances(self) -> Circumstances:
        """What a judge is told about what the replies answer: as carried, else as read out of the prompt."""
        return self.carried or circumstances_from_prompt(self.prompt, self.character)

    @property
    def key(self) -> str:
        """Digest of prompt and both sides in this order; seeds of calls and orders of sets follow from it."""
        return digest([[dict(message) for message in self.prompt], self.cand_1, self.cand_2])

    @property
    def shown_key(self) -> str:
        """Digest of everything that a judge is shown of the pair, including character and circumstances."""
        return digest([self.key, self.character, self.circumstances.to_row()])


@dataclass(frozen=True)
class BadPair:
    """A row that is not a pair: counted and reported, never judged.

    Args:
        what (`str`): What is wrong with it.
    """

    what: str


def swap(verdict: str | None) -> str | None:
    """A verdict after the candidates are exchanged."""
    return {"cand_1": "cand_2", "cand_2": "cand_1"}.get(verdict or "", verdict)


def swap_names(text: str) -> str:
    """A text about a pair after the candidates are exchanged."""
    return _SIDE.sub(lambda match: f"cand_{3 - int(match[1])}", text)


def _compared(principles: Any) -> tuple[Compared, ...]:
    found = []
    for one in listed(principles, "principles"):
        name = str(one.get("name") or "").strip() if isinstance(one, Mapping) else ""
        if not name or str(one.get("winner")) not in VERDICTS:
            raise ValueError(f"principles: each needs a name and a winner of {list(VERDICTS)}, got {one!r:.80}")
        found.append(Compared(name, one["winner"], str(one.get("reason") or "")))
    return tuple(found)
