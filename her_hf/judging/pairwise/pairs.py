"""Pairs of replies to one prompt: reading them from files, what of them a judge may see, and their two orders.

On disk a pair is a JSON line of `prompt` (messages of the character's own conversation), `cand_1`, `cand_2` (texts)
and `label`. Rows of a preference set (`prompt`, `chosen`, `rejected`) become pairs with an order drawn from their own
text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from her_hf.dual_layer import Issue, View, parse_turn, render_segments, visible_runs
from her_hf.durable import derive_seed, digest
from her_hf.inference import Message
from her_hf.scenes import read_turn

VERDICTS = ("cand_1", "cand_2", "tie")
START = "===Conversation Start==="

_SECTION = re.compile(r"^===(?P<title>[^=\n].*?)===[ \t]*$", re.MULTILINE)
_ROLE = re.compile(r"^\s*(?:You are |你是(?:《(?P<zh_book>[^》]*)》中的)?)(?P<rest>[^\n]+)")
_SYSTEM = "system_?think(?:ing)?|think|thought"
_SYSTEM_START = re.compile(rf"<\s*(?:{_SYSTEM})\s*>", re.IGNORECASE)
_SYSTEM_END = re.compile(rf"<\s*/\s*(?:{_SYSTEM})\s*>", re.IGNORECASE)
_MOST_JOINED = 50
"""Paragraphs that a thought may span; one that is still open then hides the rest."""
_SIDE = re.compile(r"cand_([12])")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Compared:
    """One principle and who keeps it better.

    Args:
        name (`str`): As the judge calls it.
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
        label (`str`, *optional*): Which is better: `"cand_1"`, `"cand_2"` or `"tie"`; `None` if nobody has said.
        character (`str`): Who replies.
        principles (`tuple[Compared, ...]`, *optional*): Who keeps which principle better, as whoever labelled the pair
            says.
        evidence (`str`, *optional*): What speaks for the label, with the names `cand_1` and `cand_2`.
        extra (`Mapping`, *optional*): All other fields of the row (`kind`, `source`, `scene_key`, …).

    Raises:
        `ValueError`: If a side is empty, both sides are the same, the prompt is no conversation that ends where a
            reply begins, or the label is none of the three; the message says what was got.
    """

    prompt: tuple[Message, ...]
    cand_1: str
    cand_2: str
    label: str | None = None
    character: str = ""
    principles: tuple[Compared, ...] = ()
    evidence: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        shown = {name: candidate_body(getattr(self, name), self.character) for name in ("cand_1", "cand_2")}
        for name, body in shown.items():
            if not body.strip():
                raise ValueError(f"{name} is empty but for what nobody sees: there is nothing to judge")
        if len({" ".join(body.split()) for body in shown.values()}) == 1:
            raise ValueError(f"both sides are the same text ({_short(self.cand_1)!r}): there is nothing to compare")
        if self.label is not None and self.label not in VERDICTS:
            raise ValueError(f"label must be one of {list(VERDICTS)} or absent, got {self.label!r:.60}")

    @classmethod
    def from_row(cls, row: Any, *, seed: int = 42) -> Pair:
        """Reads a row: of a pairs file, or of a preference set, whose order is then drawn.

        Args:
            row (`Mapping`): The row.
            seed (`int`, *optional*, defaults to 42): Of the order, with the row's own text.

        Raises:
            `ValueError`: If it is no pair; the message says what is wrong.
        """
        if not isinstance(row, Mapping):
            raise ValueError(f"must be a JSON object, got {type(row).__name__}")
        if "chosen" in row and "rejected" in row:
            row = _ordered(row, seed)
        missing = [name for name in ("prompt", "cand_1", "cand_2") if row.get(name) is None]
        if missing:
            raise ValueError(f"lacks {missing}: a pair needs prompt, cand_1 and cand_2, got {sorted(map(str, row))}")
        prompt = row["prompt"]
        if not isinstance(prompt, Sequence) or isinstance(prompt, str):
            raise ValueError(f"prompt must be a list of messages, got {type(prompt).__name__}")
        label = row.get("label")
        known = {"prompt", "cand_1", "cand_2", "label", "character", "principles", "evidence"}
        character = row.get("character") or character_of(prompt)
        return cls(
            tuple(dict(message) if isinstance(message, Mapping) else message for message in prompt),
            _text_of(row["cand_1"], "cand_1"),
            _text_of(row["cand_2"], "cand_2"),
            label if label is None else str(label),
            str(character),
            _compared(row.get("principles") or ()),
            str(row.get("evidence") or ""),
            {name: value for name, value in row.items() if name not in known},
        )

    def swapped(self) -> Pair:
        """The same pair in the other order, all that is said of its sides with it."""
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
            **self.extra,
        }

    @property
    def key(self) -> str:
        """Digest of prompt and both sides in this order."""
        return digest([[dict(message) for message in self.prompt], self.cand_1, self.cand_2])


@dataclass(frozen=True)
class BadPair:
    """A row that is no pair: counted and reported, never judged.

    Args:
        what (`str`): What is wrong with it.
    """

    what: str


def swap(verdict: str | None) -> str | None:
    """A verdict as it reads when the candidates change places."""
    return {"cand_1": "cand_2", "cand_2": "cand_1"}.get(verdict or "", verdict)


def swap_names(text: str) -> str:
    """A text about a pair as it reads when the candidates change places."""
    return _SIDE.sub(lambda match: f"cand_{3 - int(match[1])}", text)


def read_pairs(source: str | Path, *, split: str | None = None, seed: int = 42) -> list[Pair | BadPair]:
    """Reads pairs, one entry a row: a row that is none is a [`BadPair`] in its place.

    Args:
        source (`str` or `Path`): A JSONL file; or a folder or Hub id of a preference set, which `datasets` loads.
        split (`str`, *optional*): Split of the preference set; `"test"` if not given.
        seed (`int`, *optional*, defaults to 42): Of the order in which the sides of a preference row are put.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If not a single row is a pair; the message names the first problem.
    """
    found: list[Pair | BadPair] = []
    for where, row in _rows(source, split):
        try:
            found.append(Pair.from_row(json.loads(row) if isinstance(row, str) else row, seed=seed))
        except json.JSONDecodeError as error:
            found.append(BadPair(f"{where}: no JSON ({error})"))
        except ValueError as error:
            found.append(BadPair(f"{where}: {error}"))
    if not any(isinstance(pair, Pair) for pair in found):
        first = next((pair.what for pair in found if isinstance(pair, BadPair)), "the file is empty")
        raise ValueError(f"{source} holds no pair that can be judged, in {len(found)} rows; the first: {first}")
    return found


def _rows(source: str | Path, split: str | None) -> Iterator[tuple[str, Any]]:
    file = Path(source)
    if file.is_file():
        if split is not None:
            raise ValueError(f"a split goes with a data set, but {source} is a file: leave out the split")
        # Split at newlines alone: other line breaks of Unicode may stand inside a JSON string.
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
            if line.strip():
                yield f"{source}, line {number}", line
        return
    if file.suffix in (".jsonl", ".json"):
        raise FileNotFoundError(f"There is no file {source}: give a JSONL file of pairs, or a preference set.")
    from datasets import load_dataset

    with TemporaryDirectory() as cache:
        # The cache of `datasets` may give what a folder held before its files were changed; a folder is read afresh.
        fresh = {"cache_dir": cache, "keep_in_memory": True} if file.is_dir() else {}
        rows = load_dataset(str(source), split=split or "test", **fresh)
        for number, row in enumerate(rows):
            yield f"{source}, row {number}", row


# -- what the judge may see


@dataclass(frozen=True)
class Spoken:
    """A turn as the judge reads it: who, and the text in HER notation without the label."""

    name: str
    text: str


@dataclass(frozen=True)
class Circumstances:
    """What a reply answers.

    Args:
        character (`str`): Who replies.
        book (`str`): The book or setting; may be empty.
        card (`str`): The character's description.
        scenario (`str`): The scene.
        others (`str`): The other characters.
        prompt (`str`): The whole system message, for prompts of another form than HER's.
        turns (`tuple[Spoken, ...]`): The turns before: the character's own in SELF view, all others in OTHERS view.
    """

    character: str
    book: str
    card: str
    scenario: str
    others: str
    prompt: str
    turns: tuple[Spoken, ...]


def circumstances(pair: Pair) -> Circumstances:
    """What the judge is told of the scene: the role's card, the scenario, and the turns before with their speakers.

    The views are applied here, whatever the prompt holds: system thinking and others' thoughts do not reach the judge.
    """
    system = "\n\n".join(str(m.get("content") or "") for m in pair.prompt if m["role"] == "system").strip()
    sections = _sections(system)
    turns: list[Spoken] = []
    for message in pair.prompt:
        text = str(message.get("content") or "")
        if message["role"] == "user":
            turns += _heard(text)
        elif message["role"] == "assistant":
            turns.append(Spoken(pair.character, candidate_body(text, pair.character)))
    return Circumstances(
        character=pair.character,
        book=_book(system),
        card=sections.get(f"{pair.character}'s Profile", ""),
        scenario=sections.get("Current Scenario", ""),
        others=sections.get("Information about the other Characters", ""),
        prompt=system,
        turns=tuple(turn for turn in turns if turn.text),
    )


def candidate_body(text: str, character: str, notation: str = "her") -> str:
    """A candidate as the judge sees it: in SELF view, without system thinking and without its own label.

    Args:
        text (`str`): The reply in HER notation, with or without system thinking and label.
        character (`str`): Who replies.
        notation (`str`, *optional*, defaults to `"her"`): `"her"`, or `"coser"` for `[thought]` and `(action)`.
    """
    turn = read_turn(_behind_a_stray_end(text), character or "?")
    return render_segments(visible_runs(turn.segments, View.SELF), notation)


def _behind_a_stray_end(text: str) -> str:
    """A reply behind the end of a system block whose beginning is not in it: the prompt had opened the block."""
    end = _SYSTEM_END.search(text)
    return text[end.end() :] if end and not _SYSTEM_START.search(text, 0, end.start()) else text


def character_of(prompt: Sequence[Any]) -> str:
    """Who replies, as the system message says it; `""` if it does not."""
    for message in prompt:
        if isinstance(message, Mapping) and message.get("role") == "system":
            match = _ROLE.match(str(message.get("content") or ""))
            if match:
                rest = match["rest"].strip().rstrip("。.")
                return rest if match["zh_book"] else rest.partition(" from ")[0]
    return ""


def _book(system: str) -> str:
    match = _ROLE.match(system)
    if not match:
        return ""
    return match["zh_book"] or match["rest"].strip().rstrip("。.").partition(" from ")[2]


def _sections(system: str) -> dict[str, str]:
    marks = list(_SECTION.finditer(system))
    ends = [*(mark.start() for mark in marks[1:]), len(system)]
    return {mark["title"]: system[mark.end() : ends[at]].strip() for at, mark in enumerate(marks)}


def _heard(text: str) -> list[Spoken]:
    """The turns of a user message, which blank lines part; a part without a label goes on with the turn before."""
    turns: list[Spoken] = []
    for part in _paragraphs(text):
        turn = parse_turn(part)
        shown = render_segments(visible_runs(turn.segments, View.OTHERS))
        if turn.name is None and turns:
            turns[-1] = Spoken(turns[-1].name, f"{turns[-1].text}\n{shown}".strip())
        else:
            turns.append(Spoken(turn.name or "", shown))
    return turns


def _paragraphs(text: str) -> Iterator[str]:
    """Parts between blank lines; a thought that goes on behind one is not cut."""
    parts = [part for part in map(str.strip, text.split("\n\n")) if part and part != START]
    while parts:
        part, joined = parts.pop(0), 0
        while parts and Issue.UNCLOSED in parse_turn(part).issues:
            joined += 1
            taken = 1 if joined <= _MOST_JOINED else len(parts)
            part = "\n\n".join([part, *parts[:taken]])
            del parts[:taken]
        yield part


# -- rows


def _ordered(row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A preference row as a pair; which side comes first depends on the row's own text and the seed."""
    chosen, rejected = _text_of(row["chosen"], "chosen"), _text_of(row["rejected"], "rejected")
    first = derive_seed(seed, digest([chosen, rejected])) % 2 == 0
    better, worse = ("cand_1", "cand_2") if first else ("cand_2", "cand_1")
    names = {"chosen": better, "rejected": worse}
    found = {name: value for name, value in row.items() if name not in names}
    found |= {better: chosen, worse: rejected, "label": better}
    if row.get("principles"):
        found["principles"] = [
            {**one, "winner": names.get(str(one.get("winner")), one.get("winner"))}
            if isinstance(one, Mapping)
            else one
            for one in _listed(row["principles"])
        ]
    if row.get("evidence"):
        found["evidence"] = re.sub(r"\{(chosen|rejected)\}", lambda match: names[match[1]], str(row["evidence"]))
    return found


def _listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"principles must be a list, got {value!r:.60}")
    return value


def _compared(listed: Any) -> tuple[Compared, ...]:
    found = []
    for one in _listed(listed):
        name = str(one.get("name") or "").strip() if isinstance(one, Mapping) else ""
        if not name or str(one.get("winner")) not in VERDICTS:
            raise ValueError(f"principles: each needs a name and a winner of {list(VERDICTS)}, got {one!r:.80}")
        found.append(Compared(name, one["winner"], str(one.get("reason") or "")))
    return tuple(found)


def _text_of(side: Any, name: str) -> str:
    """A side's text: a string, or a list with one assistant message."""
    if isinstance(side, str):
        return side
    if isinstance(side, Sequence) and len(side) == 1 and isinstance(side[0], Mapping):
        content = side[0].get("content")
        if isinstance(content, str):
            return content
    raise ValueError(f"{name} must be a text or a list with one message, got {str(side)[:_SHOWN]!r}")


def _check_prompt(prompt: Sequence[Any]) -> None:
    for index, message in enumerate(prompt):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in ("system", "user", "assistant") or not isinstance(message.get("content"), str):
            raise ValueError(
                f"prompt, message {index}: needs a role (system, user, assistant) and a text as content, got "
                f"{str(message)[:_SHOWN]!r}"
            )
    turns = {message["content"].strip() for message in prompt if message["role"] != "system"} - {""}
    if not turns:
        raise ValueError("the prompt has no turn to answer: the context is missing")
    if turns == {START} and not any(m["role"] == "system" and m["content"].strip() for m in prompt):
        raise ValueError(f"the prompt is but {START!r}, with neither a scene nor a turn: the context is missing")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
