"""Judging reenacted dialogues chunk by chunk, each judgement on the disk at once: ours, and the public ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from her_hf.durable import Journal, digest
from her_hf.inference import Caller
from her_hf.judging.missing import Missing
from her_hf.judging.reenactment import Chunk, ChunkJudgement, ChunkJudging, Line, chunks_of, judge_chunk
from her_hf.scenes.seeds import Seed
from her_hf.scoring.minimax import chunk_scores

from .progress import bar, together

Row = dict[str, Any]

SCALE = (
    "Scores of this bench are on a scale of our own: prompts, user simulator and penalties are ours, as those of "
    "MiniMax are not published. Compare them with each other only, never with published values."
)


@dataclass(frozen=True)
class Dialogue:
    """A dialogue to judge.

    Args:
        names (`dict`): What identifies it in rows: `language`, `seed_id`, `run` and, for public ones, `model`.
        seed (`Seed`): Its setting.
        turns (`Sequence[Mapping]`): All turns, the opening included, as `dialogues.jsonl` has them.
    """

    names: Row
    seed: Seed
    turns: Sequence[Line]


def dialogue_key(row: Row) -> tuple[Any, ...]:
    """What identifies the dialogue of a row."""
    return row["language"], row["seed_id"], row.get("model"), row["run"]


def chunk_key(row: Row) -> tuple[Any, ...]:
    """What identifies a row of `judgements.jsonl`."""
    return *dialogue_key(row), row["chunk"]


async def judge_dialogues(
    judge: Caller,
    dialogues: Sequence[Dialogue],
    settings: ChunkJudging,
    journal: Journal,
    *,
    at_once: int = 256,
    show: bool = True,
) -> list[Row]:
    """Judges all chunks of all dialogues that are not judged yet.

    Args:
        judge ([`~her_hf.inference.Caller`]): The judge.
        dialogues (`Sequence[Dialogue]`): What is judged.
        settings ([`~her_hf.judging.reenactment.ChunkJudging`]): How to ask.
        journal ([`~her_hf.durable.Journal`]): Keyed by [`chunk_key`]; holds these judgements alone in the end.
        at_once (`int`, *optional*, defaults to 256): Most judgements in hand at a time.
        show (`bool`, *optional*, defaults to `True`): Whether to show a progress bar.

    Returns:
        `list[dict]`: Rows of `judgements.jsonl`, in the order of dialogues and chunks.
    """
    order: list[tuple[Any, ...]] = []
    waiting: list[tuple[Dialogue, Chunk, str]] = []
    for dialogue in dialogues:
        for chunk in chunks_of(dialogue.turns, settings.chunk):
            key = chunk_key({**dialogue.names, "chunk": chunk.index})
            judged = digest([list(map(dict, chunk.before)), list(map(dict, chunk.turns)), dialogue.seed.model_dump()])
            order.append(key)
            if not _is_judged(journal.rows.get(key), judged):
                waiting.append((dialogue, chunk, judged))
    with bar(len(order), "judging", "chunk", show=show, done=len(order) - len(waiting)) as progress:

        async def one(dialogue: Dialogue, chunk: Chunk, judged: str) -> None:
            key = list(dialogue.names.values())
            found = await judge_chunk(judge, dialogue.seed, chunk, settings=settings, key=key)
            journal.add(judgement_row(dialogue, chunk, found, judged))
            progress.update()

        await together((one(*job) for job in waiting), at_once)
    return journal.settle(order)


def _is_judged(row: Row | None, judged: str) -> bool:
    """Whether these very turns were judged; a request that failed is made again."""
    if row is None or row.get("judged") != judged:
        return False
    return not (row.get("missing") and row["missing"]["cause"] == "request")


def judgement_row(dialogue: Dialogue, chunk: Chunk, found: ChunkJudgement | Missing, judged: str) -> Row:
    """A row of `judgements.jsonl`."""
    row: Row = {
        **dialogue.names,
        "chunk": chunk.index,
        "rounds": [chunk.turns[0]["round"], chunk.turns[-1]["round"]],
        "judged": judged,
    }
    if isinstance(found, Missing):
        return {**row, "errors": None, "missing": found.as_dict()}
    return {**row, **asdict(found), "missing": None}


def chunk_columns(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[dict[str, float] | None]]:
    """By dialogue the column scores of its chunks in order; `None` where the judgement is missing."""
    found: dict[tuple[Any, ...], list[dict[str, float] | None]] = {}
    for row in sorted(rows, key=lambda row: int(row["chunk"])):
        scores = None if row["errors"] is None else chunk_scores(row["errors"])
        found.setdefault(dialogue_key(row), []).append(scores)
    return found
