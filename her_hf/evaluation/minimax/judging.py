"""Judges dialogues chunk by chunk, simulated and public ones; each judgement is saved as it arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from her_hf.concurrency import each
from her_hf.durable import digest
from her_hf.inference import Caller
from her_hf.journal import Journal, Rows
from her_hf.judging.critics.minimax import Chunk, ChunkJudgement, ChunkJudging, Line, chunks_of, judge_chunk
from her_hf.runs.addresses import missing_row
from her_hf.runs.progress import Progress
from her_hf.runs.starts import Notes
from her_hf.runs.units import Cause, Stage
from her_hf.scenes.seeds import Seed
from her_hf.scoring.minimax import chunk_scores
from her_hf.scoring.missing import Missing

from ..rows import Row

SCALE = (
    "These scores have a scale of their own: prompts, user simulator and penalties are this project's, as those of "
    "MiniMax are not published. They are comparable with each other, not with published values."
)


@dataclass(frozen=True)
class Dialogue:
    """A dialogue to judge.

    Args:
        names (`dict`): Its key in rows: `language`, `seed_id`, `run` and, for public ones, `model`.
        seed (`Seed`): Its seed.
        turns (`Sequence[Mapping]`): All turns, the opening included, as in `dialogues.jsonl`.
    """

    names: Row
    seed: Seed
    turns: Sequence[Line]


def dialogue_key(row: Row) -> tuple[Any, ...]:
    """Key of the dialogue of a row."""
    return row["language"], row["seed_id"], row.get("model"), row["run"]


def chunk_key(row: Row) -> tuple[Any, ...]:
    """Key of a row of `judgements.jsonl`."""
    return *dialogue_key(row), row["chunk"]


@dataclass(frozen=True)
class _Unit:
    """A chunk to judge, with the digest of its turns and seed."""

    dialogue: Dialogue
    chunk: Chunk
    judged: str


class _ErrorShape(BaseModel):
    column: str
    severity: str
    turn: int


class ChunkShape(BaseModel):
    """What a page reads of a row of `judgements.jsonl`."""

    language: str
    seed_id: str
    run: int | str
    chunk: int
    rounds: list[int]
    errors: list[_ErrorShape] | None
    missing: Cause | None


class _Shape(ChunkShape):
    judged: str


class Judges:
    """Judges the remaining dialogues chunk by chunk.

    Args:
        notes ([`~her_hf.runs.starts.Notes`]): Keeps the notes of the models.
        judge ([`~her_hf.inference.Caller`]): The judge.
        settings ([`~her_hf.judging.critics.minimax.ChunkJudging`]): How to ask.
        file (`Path`): The journal of judgements.
        judged_by (`Mapping`): All settings of judging, as in the folder's note.
        total (`int`): Expected number of chunks.
        show (`bool`): Whether to show a progress bar.

    Attributes:
        stage ([`~her_hf.runs.units.Stage`]): The context to enter while dialogues are judged.
    """

    def __init__(
        self,
        notes: Notes,
        judge: Caller,
        settings: ChunkJudging,
        file: Path,
        judged_by: Row,
        *,
        total: int,
        show: bool,
    ) -> None:
        self._notes, self._caller, self._settings = notes, judge, settings
        self._judged_by = digest(judged_by)
        self.stage: Stage[_Unit] = Stage(
            Journal(file, key=chunk_key, shape=_Shape, same={"settings": self._judged_by}),
            key=lambda unit: _key(unit.dialogue, unit.chunk),
            make=self._judge,
            is_valid=_is_judged,
            progress=Progress("judging", "chunk", total=total, show=show),
        )

    async def judge(self, dialogue: Dialogue) -> None:
        """Judges all chunks of one dialogue concurrently; each judgement is saved as it arrives."""
        seed = dialogue.seed.model_dump()
        chunks = chunks_of(dialogue.turns, self._settings.chunk)
        units = (
            _Unit(dialogue, chunk, digest([list(map(dict, chunk.before)), list(map(dict, chunk.turns)), seed]))
            for chunk in chunks
        )
        await each(units, self.stage.row, window=len(chunks) or 1)

    async def _judge(self, unit: _Unit) -> Row:
        dialogue, chunk = unit.dialogue, unit.chunk
        key = list(dialogue.names.values())
        found = await judge_chunk(self._caller, dialogue.seed, chunk, settings=self._settings, key=key)
        await self._notes.keep()
        return {**judgement_row(dialogue, chunk, found, unit.judged), "settings": self._judged_by}

    async def settled(self, dialogues: Iterable[Dialogue]) -> Rows:
        """Rows of `judgements.jsonl` by dialogue and chunk; the file is put into this order."""
        keys = [
            _key(dialogue, chunk)
            for dialogue in dialogues
            for chunk in chunks_of(dialogue.turns, self._settings.chunk)
        ]
        await self.stage.settle(keys)
        return self.stage.journal.rows(keys)


def _key(dialogue: Dialogue, chunk: Chunk) -> tuple[Any, ...]:
    return chunk_key({**dialogue.names, "chunk": chunk.index})


def _is_judged(unit: _Unit, row: Row) -> bool:
    """Whether these turns were judged; a failed request is repeated."""
    return bool(row["judged"] == unit.judged and (row["missing"] or {}).get("cause") != "request")


def judgement_row(dialogue: Dialogue, chunk: Chunk, found: ChunkJudgement | Missing, judged: str) -> Row:
    """A row of `judgements.jsonl`."""
    row: Row = {
        **dialogue.names,
        "chunk": chunk.index,
        "rounds": [chunk.turns[0]["round"], chunk.turns[-1]["round"]],
        "judged": judged,
    }
    if isinstance(found, Missing):
        return {**row, "errors": None, "missing": missing_row(found.as_dict())}
    return {**row, **asdict(found), "missing": None}


@dataclass
class Judged:
    """What results need of judgements.

    Args:
        columns (`dict`): For each dialogue, the column scores of its chunks in order; `None` if one is missing.
        errors (`Counter`): Errors by column and severity.
        causes (`Counter`): Missing judgements by cause.
        total, repaired, quotes_not_found, unrated (`int`): Judgements, and counts of the rows' fields.
    """

    columns: dict[tuple[Any, ...], list[dict[str, float] | None]] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    total: int = 0
    repaired: int = 0
    quotes_not_found: int = 0
    unrated: int = 0


def read_judgements(rows: Iterable[Row]) -> Judged:
    """Reads rows of `judgements.jsonl` once, in any order."""
    judged = Judged()
    chunks = []
    for row in rows:
        judged.total += 1
        scores = None if row["errors"] is None else chunk_scores(row["errors"])
        chunks.append((int(row["chunk"]), dialogue_key(row), scores))
        judged.errors.update((error["column"], error["severity"]) for error in row["errors"] or ())
        if row["missing"]:
            judged.causes[row["missing"]["cause"]] += 1
        else:
            judged.repaired += bool(row["repaired"])
            judged.quotes_not_found += row["quotes_not_found"]
            judged.unrated += row["unrated"]
    for _, key, scores in sorted(chunks, key=lambda chunk: chunk[0]):
        judged.columns.setdefault(key, []).append(scores)
    return judged
