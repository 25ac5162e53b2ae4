"""The judge of situated reenactment: it looks for errors of the character's side in chunks of a long dialogue.

Source: MiniMax's post on M2-her and its dataset card (columns, chunks of 20 turns, misalignment and not merit). Judge
and prompt are not published; the prompts here are our own.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Sampling, Schema
from her_hf.scenes.prompt import LANGUAGES
from her_hf.scenes.seeds import Seed
from her_hf.scoring.keys import stray_keys, with_known_keys
from her_hf.scoring.minimax import CHUNK_TURNS, COLUMNS, PENALTIES
from her_hf.scoring.missing import Missing
from her_hf.settings import setting

from ..structured import JsonReply, answer_text, read_answer, shorten, shown_text, was_stopped

JUDGED = "ai"
"""The role whose errors count."""

OPENING_TURNS = 2
"""Scripted turns at the start, the prologue and the first input, which nobody wrote and nobody is judged for."""

BEFORE = 4
"""Turns before a chunk that the judge is shown."""

_ERROR_KEYS = ("column", "turn", "quote", "severity", "reason")

Line = Mapping[str, Any]
"""A turn as `dialogues.jsonl` has it: `role`, `name`, `text`, `round`."""


@dataclass(frozen=True)
class ChunkJudging:
    """How the judge is asked.

    Args:
        chunk (`int`, *optional*, defaults to 20): Turns that are judged together, of both sides.
        attempts (`int`, *optional*, defaults to 3): How often an answer that cannot be read is asked for anew.
        max_tokens (`int`, *optional*, defaults to 4096): Most tokens of an answer.
        temperature (`float`, *optional*, defaults to 0): Of the first attempt.
        again_temperature (`float`, *optional*, defaults to 1.0): Of later attempts, which else would say the same.
        seed (`int`, *optional*, defaults to 42): Every call's own seed comes from this and its chunk.

    Raises:
        `ValueError`: If a number is out of range; a chunk needs a turn of each side.
    """

    chunk: int = setting(CHUNK_TURNS, help="Turns of both sides that are judged together.", min=2, option="chunk")
    attempts: int = setting(3, help="How many times an answer that cannot be read is requested.", min=1)
    max_tokens: int = setting(4096, help="Maximum tokens of a judgement.", min=1)
    temperature: float = setting(0.0, help="Of the first attempt.", min=0)
    again_temperature: float = setting(1.0, help="Of later attempts.", min=0, option="{prefix}-retry-temperature")
    seed: int = setting(42, help="Every call derives its own seed from this.", option="seed")

    def __post_init__(self) -> None:
        if self.chunk < 2 or self.attempts < 1:
            raise ValueError(
                f"chunk must be at least 2 and attempts at least 1, got chunk={self.chunk}, attempts={self.attempts}"
            )

    def as_dict(self) -> dict[str, Any]:
        """All that decides a judgement beside the dialogue and the judge, the text of the prompts included."""
        sources = [_source(f"{part}_{code}") for part in ("judge", "chunk") for code in LANGUAGES]
        return {**asdict(self), "prompts": digest(sources)}


@dataclass(frozen=True)
class ChunkJudgement:
    """What the judge found in one chunk.

    Args:
        errors (`list[dict]`): Each with `column`, `quote`, `turn`, `severity` and `reason`.
        repaired (`bool`): Whether its JSON had to be repaired.
        quotes_not_found (`int`): Errors whose quote does not stand in the character's turn that they name, white space
            aside. They count all the same.
        unrated (`int`): Errors without a severity, which count as minor.
    """

    errors: list[dict[str, Any]]
    repaired: bool = False
    quotes_not_found: int = 0
    unrated: int = 0


@dataclass(frozen=True)
class Chunk:
    """A stretch of a dialogue.

    Args:
        index (`int`): Its place, from 0.
        turns (`list`): The turns to judge.
        before (`list`): The last turns before them.
    """

    index: int
    turns: Sequence[Line]
    before: Sequence[Line]

    @property
    def judged(self) -> dict[int, str]:
        """Text of the character's turns by round."""
        return {turn["round"]: turn["text"] for turn in self.turns if turn["role"] == JUDGED}


def chunks_of(turns: Sequence[Line], size: int = CHUNK_TURNS) -> list[Chunk]:
    """Cuts the generated turns of a dialogue, all after the opening, into chunks.

    A last chunk without a turn of the character has nothing to judge and is left out.
    """
    starts = range(OPENING_TURNS, len(turns), size)
    chunks = [
        Chunk(index, turns[start : start + size], turns[max(0, start - BEFORE) : start])
        for index, start in enumerate(starts)
    ]
    return [chunk for chunk in chunks if chunk.judged]


def errors_schema(rounds: Sequence[int]) -> Schema:
    """JSON schema of the judge's answer; `rounds` are the turns that may be named."""
    properties: dict[str, Any] = {
        "column": {"type": "string", "enum": list(COLUMNS)},
        "turn": {"type": "integer", "enum": list(rounds)},
        "quote": {"type": "string"},
        "severity": {"type": "string", "enum": list(PENALTIES)},
        "reason": {"type": "string"},
    }
    error = _object(properties)
    return {"title": "errors", **_object({"errors": {"type": "array", "items": error}})}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@lru_cache(maxsize=2 * len(LANGUAGES))
def _template(part: str, language: str) -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_source(f"{part}_{language}"))


def _source(name: str) -> str:
    return (files(__package__) / "templates" / "minimax" / f"{name}.jinja").read_text(encoding="utf-8")


def judge_messages(seed: Seed, chunk: Chunk) -> list[Message]:
    """What the judge is asked: the task and both settings, then the turns by number, in the seed's language."""
    settings = seed.model_dump(include={"ai_name", "ai_setting", "user_name", "user_setting"})
    shown = {"before": list(map(_shown, chunk.before)), "turns": list(map(_shown, chunk.turns))}
    return [
        {"role": "system", "content": _template("judge", seed.language).render(**settings).strip()},
        {"role": "user", "content": _template("chunk", seed.language).render(**shown).strip()},
    ]


def _shown(turn: Line) -> dict[str, Any]:
    """A turn for the prompt. Later lines are indented, so that none looks like the number of another turn."""
    text = "\n  ".join(str(turn["text"]).splitlines())
    return {"round": turn["round"], "name": turn["name"], "text": text, "judged": turn["role"] == JUDGED}


# -- reading the answer


def parse_errors(text: str, chunk: Chunk, *, cut: bool = False, shown: str = "") -> ChunkJudgement | Missing:
    """Reads the judge's answer.

    Args:
        text (`str`): The answer: `{"errors": […]}`.
        chunk ([`Chunk`]): What was judged; quotes are looked up in it.
        cut, shown: See [`~her_hf.judging.structured.read_answer`].

    Returns:
        `ChunkJudgement` or `Missing`: Missing if there is no JSON or it ends early, no list of errors, keys beside it
            under which there may be more, an error that is no object, or one with an unknown column or severity, a
            turn that is none of the character's in the chunk or a quote that is no text.
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
    errors, unrated = [], 0
    for index, given in enumerate(listed):
        try:
            if not isinstance(given, Mapping):
                raise ValueError("must be an object")
            spelt = with_known_keys(given, _ERROR_KEYS)
            stray = stray_keys(spelt, _ERROR_KEYS)
            if stray:
                return Missing("wrong_keys", f"error {index}: wanted {list(_ERROR_KEYS)}, got {shorten(repr(stray))}")
            if found.repaired and "severity" not in spelt:
                return Missing("wrong_keys", f"error {index}: no severity, in JSON whose strings had to be guessed")
            errors.append(_read_error(spelt, chunk))
        except ValueError as problem:
            return Missing("bad_value", f"error {index}: {problem}, got {shorten(repr(given))}")
        unrated += "severity" not in spelt
    return ChunkJudgement(
        errors,
        repaired=found.repaired,
        quotes_not_found=sum(not _is_quoted(error, chunk) for error in errors),
        unrated=unrated,
    )


def _read_error(given: Mapping[str, Any], chunk: Chunk) -> dict[str, Any]:
    """One error in canonical form.

    Raises:
        `ValueError`: Says what it must be.
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
    """Whether the words stand in the turn; an empty quote only fits an empty turn."""
    quote, said = _folded(error["quote"]), _folded(chunk.judged[error["turn"]])
    return quote in said if quote else not said


def _folded(text: str) -> str:
    """Text without white space; quotation marks around the whole are the judge's."""
    return "".join(text.split()).strip("\"'“”‘’「」『』")


# -- asking


async def judge_chunk(
    judge: Caller, seed: Seed, chunk: Chunk, *, settings: ChunkJudging | None = None, key: Sequence[Any] = ()
) -> ChunkJudgement | Missing:
    """One judgement of one chunk; an answer that cannot be read is asked for anew, a few times.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        seed (`Seed`): The setting.
        chunk ([`Chunk`]): What is judged.
        settings ([`ChunkJudging`], *optional*): How to ask.
        key (`Sequence`, *optional*): Names the dialogue, JSON values, for the seeds of the calls.

    Returns:
        `ChunkJudgement` or `Missing`: With the cause of the last attempt.
    """
    settings = settings or ChunkJudging()
    messages, schema = judge_messages(seed, chunk), errors_schema(sorted(chunk.judged))
    found: ChunkJudgement | Missing = Missing("no_json")
    for attempt in range(settings.attempts):
        sampling = Sampling(
            max_tokens=settings.max_tokens,
            temperature=settings.again_temperature if attempt else settings.temperature,
            top_p=1.0,
            seed=derive_seed(settings.seed, list(key), chunk.index, attempt),
        )
        try:
            reply = await judge.ask(messages, sampling=sampling, thinking=False, schema=schema)
        except ModelError as error:
            return Missing("request", str(error))
        found = parse_errors(answer_text(reply), chunk, cut=was_stopped(reply), shown=shown_text(messages))
        if not isinstance(found, Missing):
            return found
    return found
