"""The judge of MiniMax dialogues: it looks for errors of the character's side in chunks of a long dialogue.

Source: MiniMax's post on M2-her and its dataset card (columns, chunks of 20 turns, misalignment and not merit). Judge
and prompt are not published; the prompts are our own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from her_hf.durable import digest
from her_hf.inference import Caller, Message, Schema
from her_hf.scenes.prompt import LANGUAGES
from her_hf.scenes.seeds import Seed
from her_hf.scoring.keys import stray_keys, with_known_keys
from her_hf.scoring.minimax import CHUNK_TURNS, COLUMNS, PENALTIES
from her_hf.scoring.missing import Missing
from her_hf.settings import setting
from her_hf.template_files import load_template, template_source

from ..ask import AskSettings, again_source, ask
from ..structured import JsonReply, read_answer, shorten
from .findings import findings_schema, read_findings

JUDGED = "ai"
"""The role whose errors count."""

OPENING_TURNS = 2
"""Scripted turns at the start, the prologue and the first input, which are not judged."""

BEFORE = 4
"""Turns before a chunk that are shown to the judge."""

_ERROR_KEYS = ("column", "turn", "quote", "severity", "reason")

Line = Mapping[str, Any]
"""A turn as in `dialogues.jsonl`: `role`, `name`, `text`, `round`."""


@dataclass(frozen=True)
class ChunkJudging(AskSettings):
    """How the judge is asked; see [`~her_hf.judging.ask.AskSettings`] for the settings that all judges share.

    Args:
        chunk (`int`, *optional*, defaults to 20): Turns of both sides that are judged together.
        max_tokens (`int`, *optional*, defaults to 4096): Most tokens of an answer.

    Raises:
        `ValueError`: If a number is out of range.
    """

    chunk: int = setting(CHUNK_TURNS, help="Turns of both sides that are judged together.", min=2)
    max_tokens: int = setting(4096, help="Maximum tokens of a judgement.", min=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chunk < 2:
            raise ValueError(f"chunk must be at least 2, a turn of each side, got {self.chunk}")

    def as_dict(self) -> dict[str, Any]:
        """Everything that determines a judgement besides dialogue and judge, including a digest of the prompts."""
        names = [_file(part, code) for part in ("judge", "chunk") for code in LANGUAGES]
        sources = [template_source(__package__, name) for name in names]
        return {**asdict(self), "prompts": digest([*sources, again_source()])}


@dataclass(frozen=True)
class ChunkJudgement:
    """What the judge found in one chunk.

    Args:
        errors (`list[dict]`): Each with `column`, `quote`, `turn`, `severity` and `reason`.
        repaired (`bool`): Whether its JSON had to be repaired.
        quotes_not_found (`int`): Errors whose quote does not occur, ignoring white space, in the character's turn that
            they name. They still count.
        unrated (`int`): Errors without a severity, which count as minor.
    """

    errors: list[dict[str, Any]]
    repaired: bool = False
    quotes_not_found: int = 0
    unrated: int = 0


@dataclass(frozen=True)
class Chunk:
    """A part of a dialogue that is judged as one.

    Args:
        index (`int`): Its number, from 0.
        turns (`list`): The turns to judge.
        before (`list`): The last turns before those.
    """

    index: int
    turns: Sequence[Line]
    before: Sequence[Line]

    @property
    def judged(self) -> dict[int, str]:
        """Text of the character's turns by round."""
        return {turn["round"]: turn["text"] for turn in self.turns if turn["role"] == JUDGED}


def chunks_of(turns: Sequence[Line], size: int = CHUNK_TURNS) -> list[Chunk]:
    """Splits the generated turns of a dialogue, all those after the opening, into chunks.

    A last chunk without a turn of the character has nothing to judge and is dropped.
    """
    starts = range(OPENING_TURNS, len(turns), size)
    chunks = [
        Chunk(index, turns[start : start + size], turns[max(0, start - BEFORE) : start])
        for index, start in enumerate(starts)
    ]
    return [chunk for chunk in chunks if chunk.judged]


def errors_schema(rounds: Sequence[int]) -> Schema:
    """JSON schema of the judge's answer; `rounds` are the numbers of the turns that an error may name."""
    properties: dict[str, Any] = {
        "column": {"type": "string", "enum": list(COLUMNS)},
        "turn": {"type": "integer", "enum": list(rounds)},
        "quote": {"type": "string"},
        "severity": {"type": "string", "enum": list(PENALTIES)},
        "reason": {"type": "string"},
    }
    return {"title": "errors", **findings_schema("errors", properties)}


def _file(part: str, language: str) -> str:
    return f"minimax/{part}_{language}.jinja"


def _rendered(part: str, language: str, **variables: Any) -> str:
    return load_template(__package__, _file(part, language)).render(**variables).strip()


def judge_messages(seed: Seed, chunk: Chunk) -> list[Message]:
    """The request to the judge: the task and both settings, then the numbered turns, in the seed's language."""
    settings = seed.model_dump(include={"ai_name", "ai_setting", "user_name", "user_setting"})
    shown = {"before": list(map(_shown, chunk.before)), "turns": list(map(_shown, chunk.turns))}
    return [
        {"role": "system", "content": _rendered("judge", seed.language, **settings)},
        {"role": "user", "content": _rendered("chunk", seed.language, **shown)},
    ]


def _shown(turn: Line) -> dict[str, Any]:
    """A turn for the prompt. Lines after the first are indented, so that none looks like another turn."""
    text = "\n  ".join(str(turn["text"]).splitlines())
    return {"round": turn["round"], "name": turn["name"], "text": text, "judged": turn["role"] == JUDGED}


# -- reading the answer


def parse_errors(text: str, chunk: Chunk, *, cut: bool = False, shown: str = "") -> ChunkJudgement | Missing:
    """Reads the judge's answer.

    Args:
        text (`str`): The answer: `{"errors": […]}`.
        chunk ([`Chunk`]): What was judged; quotes are searched in it.
        cut, shown: See [`~her_hf.judging.structured.read_answer`].

    Returns:
        `ChunkJudgement` or `Missing`: Missing if there is no JSON or it ends early, if there is no list of errors or
            other keys may contain more, or if an error is not an object or has an unknown column or severity, a turn
            that is not one of the character's in the chunk, or a quote that is not text.
    """
    return read_answer(text, lambda found: _read_errors(found, chunk), cut=cut, shown=shown)


def _read_errors(found: JsonReply, chunk: Chunk) -> ChunkJudgement | Missing:
    try:
        value = with_known_keys(found.value, ("errors",))
    except ValueError as problem:
        return Missing("bad_value", str(problem))
    listed = value.get("errors")
    if not isinstance(listed, list) or stray_keys(value, ("errors",)):
        return Missing("wrong_keys", f'wanted {{"errors": […]}}, got {shorten(repr(found.value))}')
    read = read_findings(found, listed, "error", _ERROR_KEYS, lambda given: _read_error(given, chunk))
    if isinstance(read, Missing):
        return read
    errors = [_read_error(given, chunk) for given in read]
    return ChunkJudgement(
        errors,
        repaired=found.repaired,
        quotes_not_found=sum(not _is_quoted(error, chunk) for error in errors),
        unrated=sum("severity" not in given for given in read),
    )


def _read_error(given: Mapping[str, Any], chunk: Chunk) -> dict[str, Any]:
    """One error in canonical form.

    Raises:
        `ValueError`: If a value cannot be read; the message says what it must be.
    """
    column = _word(given.get("column"))
    column = column if column in COLUMNS else f"{column}_score"
    if column not in COLUMNS:
        raise ValueError(f"column must be one of {list(COLUMNS)}")
    severity = _word(given.get("severity", "minor"))
    if severity not in PENALTIES:
        raise ValueError(f"severity must be one of {list(PENALTIES)}")
    turn = given.get("turn")
    if _word(turn).strip("[]").isdecimal():
        turn = int(_word(turn).strip("[]"))
    if isinstance(turn, bool) or not isinstance(turn, int) or turn not in chunk.judged:
        raise ValueError(f"turn must be one of {sorted(chunk.judged)}")
    quote, reason = given.get("quote", ""), given.get("reason", "")
    if not isinstance(quote, str):
        raise ValueError("quote must be text")
    return {"column": column, "quote": quote, "turn": turn, "severity": severity, "reason": str(reason)}


def _word(value: Any) -> str:
    return unicodedata.normalize("NFKC", value).strip().lower() if isinstance(value, str) else ""


def _is_quoted(error: Mapping[str, Any], chunk: Chunk) -> bool:
    """Whether the quote occurs in the turn; an empty quote only fits an empty turn."""
    quote, said = _folded(error["quote"]), _folded(chunk.judged[error["turn"]])
    return quote in said if quote else not said


def _folded(text: str) -> str:
    """Text without white space, and without the quotation marks that a judge puts around it."""
    return "".join(text.split()).strip("\"'“”‘’「」『』")


# -- asking


async def judge_chunk(
    judge: Caller, seed: Seed, chunk: Chunk, *, settings: ChunkJudging | None = None, key: Sequence[Any] = ()
) -> ChunkJudgement | Missing:
    """One judgement of one chunk, requested by [`~her_hf.judging.ask.ask`].

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        seed (`Seed`): The setting.
        chunk ([`Chunk`]): What to judge.
        settings ([`ChunkJudging`], *optional*): How to ask.
        key (`Sequence`, *optional*): JSON values that identify the dialogue, for the seeds of the calls.

    Returns:
        `ChunkJudgement` or `Missing`: The latter with the cause of the last attempt.
    """
    settings = settings or ChunkJudging()
    asked = await ask(
        judge,
        judge_messages(seed, chunk),
        lambda found: _read_errors(found, chunk),
        settings=settings,
        max_tokens=settings.max_tokens,
        key=(list(key), chunk.index),
        schema=errors_schema(sorted(chunk.judged)),
    )
    return asked.found
