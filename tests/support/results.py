"""Results of each evaluation from handwritten rows.

`python -m tests.support.results` rewrites the golden files and the JSON schema.
"""

from __future__ import annotations

import json
import random
from typing import Any

from her_hf.dual_layer import Turn, parse_turn
from her_hf.durable import write_json
from her_hf.evaluation.coser.results import coser_results
from her_hf.evaluation.form.results import FormedReply, form_results
from her_hf.evaluation.minimax.results import minimax_results
from her_hf.evaluation.reward.results import reward_results
from her_hf.judging import DIMENSIONS
from her_hf.runs.envelope import results_schema
from her_hf.scenes import Character, Scene
from her_hf.scoring.coser_dimensions import FLAW_TYPES
from her_hf.scoring.minimax import COLUMNS
from her_hf.scoring.replies import SampledReply
from her_hf.simulation.coser import CoserSettings
from her_hf.simulation.minimax import MinimaxSettings
from her_hf.simulation.replies import Played

from .paths import FIXTURES, ROOT

Row = dict[str, Any]
HOSTILE = "Salt|Iron <script>alert(1)</script> [x](http://evil.example) `*_$"
BOOKS = ("The Lamp Room", "Orchard Street", "Eleven Bells", "盐与铁", "A Narrow Boat", "Winter Ledger", "The Copyist")
LINES = (
    "The ledger stays where it is until I have read it.",
    "You came by the river, then. Nobody comes by the river in March.",
    "I do not owe you an answer, but you shall have one.",
    "Then let us wait for the bell, and see who goes first.",
)


# -- CoSER: rows as her_hf.evaluation.coser.run writes them


def scene_of(number: int, book: str, tag: str = "id") -> Scene:
    cast = [Character(name="Ann Marlow", motivation="To keep the ledger."), Character(name="Piet Jr.")]
    dialogue = [Turn(name=one.name, segments=parse_turn(LINES[at]).segments) for at, one in enumerate(cast)]
    return Scene(book=book, i_p=number, scenario="A room.", tag=tag, cast=cast, dialogue=dialogue)


def dialogue_row(scene: Scene, chance: random.Random, settings: Row, turns: int = 10) -> Row:
    played = []
    for index in range(turns):
        name = scene.cast[index % 2].name
        parts = {
            "T": f"<role_thinking>{chance.choice(LINES)}</role_thinking>",
            "A": "<role_action>looks up</role_action>",
            "S": f"{chance.choice(LINES)} {chance.randrange(100)}",
        }
        body = " ".join(parts[layer] for layer in chance.choice(("TAS", "TS", "AS", "TSA", "S")))
        think = "<system_thinking>It is their turn.</system_thinking>" if chance.random() < 0.9 else ""
        raw = f"{think}{name}: {body}"
        turn = parse_turn(raw, speaker=name, names=tuple(one.name for one in scene.cast))
        played.append(Played(turn, raw=raw, ended=chance.random() < 0.97, cut=chance.random() < 0.02).as_dict())
    named = chance.randrange(turns)
    return {
        "key": list(scene.key),
        "turns": played,
        "ended_by": "end_chat" if chance.random() < 0.3 else "rounds",
        "failure": None,
        "named": named,
        "drawn": turns - 1 - named,
        "settings": settings,
    }


def broken_row(scene: Scene, message: str) -> Row:
    failure = {"cause": "server", "detail": message}
    return {"key": list(scene.key), "turns": [], "ended_by": "failed", "failure": failure, "named": 0, "drawn": 0}


def judgement_rows(
    dialogue: Row, judges: tuple[str, ...], samples: int, chance: random.Random, harsh: float
) -> list[Row]:
    rows = []
    for dimension in DIMENSIONS:
        many = chance.gauss(harsh, 1.5)  # how bad the scene is, whoever judges
        for judge in judges:
            for sample in range(samples):
                row: Row = {"key": dialogue["key"], "dimension": dimension, "judge": judge, "sample": sample}
                kind = FLAW_TYPES[dimension][0]
                flaws = [
                    {"instance": "…", "type": kind, "severity": chance.randint(1, 5)}
                    for _ in range(max(0, round(many + chance.gauss(0, 0.7))))
                ]
                row |= {"flaws": flaws, "missing": None, "repaired": False, "unrated": 0, "other_types": 0}
                if chance.random() < 0.04:
                    cause = chance.choice(("no_json", "request", "cut"))
                    row |= {"flaws": None, "missing": {"cause": cause, "detail": HOSTILE}}
                rows.append(row)
    return rows


def coser_settings(actor: str = "her-sft-32b", judges: tuple[str, ...] = ("judge-a",), **changes: Any) -> Row:
    playing = {
        **CoserSettings().as_dict(),
        "memory": "none",
        **{
            role: {"model": actor if role == "actor" else "world-8b", "template": "0f" * 32}
            for role in ("actor", "environment", "next_speaker")
        },
    }
    judging = {"judge_thoughts": "coser", "judge_samples": 1, "judge_max_tokens": 2048, "judge_seed": 42}
    named = [{"model": judge, "template": None} for judge in judges]
    return {**playing, **judging, "judges": named, **changes}


def coser_run(
    scenes: int = 40,
    *,
    judges: tuple[str, ...] = ("judge-a",),
    samples: int = 1,
    tags: tuple[str, ...] = ("id", "ood"),
    broken: int = 0,
    harsh: float = 4.0,
    seed: int = 0,
    judged: bool = True,
    books: tuple[str, ...] = BOOKS,
    **settings: Any,
) -> Row:
    """Contents of `results.json`; the same seed gives the same scenes."""
    chance = random.Random(seed)
    found = [scene_of(at, books[at % len(books)], tags[at % len(tags)]) for at in range(scenes)]
    known = coser_settings(judges=judges, judge_samples=samples, **settings)
    dialogues = [dialogue_row(scene, chance, known, turns=8 + at % 5) for at, scene in enumerate(found)]
    dialogues[scenes - broken :] = [broken_row(scene, HOSTILE) for scene in found[scenes - broken :]]
    rows = [
        row
        for dialogue in dialogues
        if dialogue["ended_by"] != "failed"
        for row in judgement_rows(dialogue, judges, samples, chance, harsh)
    ]
    if not judged:
        known = {name: value for name, value in known.items() if not name.startswith("judge")}
    return coser_results(found, dialogues, rows if judged else None, known)


# -- minimax: rows as her_hf.evaluation.minimax.run writes them


def minimax_settings(npc: str = "her-sft-32b", judge: str = "judge-a", **changes: Any) -> Row:
    playing = {
        **MinimaxSettings("her").as_dict(),
        "evaluation": "minimax",
        "npc": {"model": npc, "template": "0f" * 32},
        "user": {"model": "world-8b", "template": None},
    }
    judging = {"judge_chunk": 20, "judge_max_tokens": 4096, "judge_seed": 42, "judge": {"model": judge}}
    return {**playing, **judging, "runs": 3, **changes}


def minimax_rows(
    seeds: int, runs: int, broken: int, harsh: float, chance: random.Random
) -> tuple[list[Row], list[Row]]:
    dialogues, judgements = [], []
    for at in range(seeds):
        for run in range(1, runs + 1):
            names: Row = {"language": ("zh", "en")[at % 2], "seed_id": f"seed {at}|`", "run": run}
            lines = [{"role": ("ai", "user")[n % 2], "name": "N", "text": "…", "round": n} for n in range(102)]
            failed = at == seeds - 1 and run <= broken
            failure = {"cause": "server", "detail": HOSTILE} if failed else None
            row = {**names, "turns": lines[:40] if failed else lines, "ended_by": "failed" if failed else "turns"}
            row |= {"failure": failure, "repeated_calls": 1, "dropped_turns": {"ai": at % 2, "user": 0}}
            dialogues.append(row)
            for chunk in range(0 if failed else 5):
                judgements.append({**names, "chunk": chunk, **_chunk(chance, harsh + chunk)})
    return dialogues, judgements


def _chunk(chance: random.Random, harsh: float) -> Row:
    if chance.random() < 0.03:
        return {"errors": None, "missing": {"cause": "no_json", "detail": HOSTILE}}
    severities = ("minor", "minor", "minor", "major", "critical")
    errors = [
        {"column": chance.choice(COLUMNS), "severity": chance.choice(severities), "quote": "…", "turn": 3}
        for _ in range(max(0, round(chance.gauss(harsh, 1.5))))
    ]
    return {"errors": errors, "missing": None, "repaired": False, "quotes_not_found": 1, "unrated": 0}


def minimax_run(
    seeds: int = 12,
    *,
    runs: int = 3,
    broken: int = 0,
    harsh: float = 2.0,
    seed: int = 0,
    judged: bool = True,
    **settings: Any,
) -> Row:
    dialogues, judgements = minimax_rows(seeds, runs, broken, harsh, random.Random(seed))
    known = minimax_settings(runs=runs, **settings)
    if not judged:
        known = {name: value for name, value in known.items() if not name.startswith("judge")}
    return minimax_results(dialogues, judgements if judged else None, known, turns=100, chunk=20)


# -- form and reward


def form_run(replies: int = 6, broken: int = 1) -> Row:
    """Of a model whose every third reply is not well-formed, and every fourth speaks its thought."""
    found = []
    for at in range(replies):
        think = "" if at % 3 == 2 else "<system_thinking>A plan.</system_thinking>"
        secret = "I never let the blue letter out of my sight."
        spoken = secret if at % 4 == 3 else f"Tea, then, number {at}."
        text = f"{think}Ann: <role_thinking>{secret}</role_thinking> <role_action>pours</role_action> {spoken}"
        reply = SampledReply(text, "Ann", ("Ann", "Bob"), True)
        found.append(FormedReply(["The Mill", 0, 0, at + 1], reply, at == 1))
    failures = [
        {"key": ["The Mill", 0, 0, replies + at + 1], "failure": {"cause": "status", "detail": HOSTILE}}
        for at in range(broken)
    ]
    settings = {"evaluation": "form", "model": {"model": "her-sft-32b"}, "style": "her", "seed": 42}
    return form_results(found, settings, expected=replies + broken, failures=failures)


def judged_row(at: int, verdict: str | None = "cand_1", *, kind: str = "lecture") -> Row:
    """A line of `judged.jsonl`; the label is always `cand_1`."""
    lost = None if verdict else {"cause": "no_json", "detail": HOSTILE}
    order = {"verdict": verdict, "missing": lost, "attempts": 1, "repaired": at % 5 == 0, "principles": []}
    orders = [{**order, "order": name, "evidence": f"{HOSTILE} {at}"} for name in ("12", "21")]
    row = {"index": at, "key": f"{at:064x}", "label": "cand_1", "character": "Ann", "characters": [90, 90 + 9 * at]}
    row |= {"kind": kind, "source": "written", "verdict": verdict, "confidence": 0.6 if verdict else None}
    return {**row, "per_order": orders, "missing": lost, "evidence": ""}


def reward_run(pairs: int = 8) -> Row:
    verdicts = ("cand_1", "cand_1", "cand_2", "tie", "cand_1", None)
    rows = [judged_row(at, verdicts[at % 6], kind=("lecture", "anachronism")[at % 2]) for at in range(pairs)]
    settings = {"evaluation": "reward", "model": {"model": "judge-a"}, "comparison": "pairwise", "read": "text"}
    settings |= {"principles": "by_case", "reasoning": True, "both_orders": True, "unseen": ["lecture"], "seed": 42}
    return reward_results(rows, {**settings, "pairs": "0f" * 32})


# -- golden files


def golden() -> dict[str, Row]:
    """The contents of the golden file of each evaluation."""
    return {
        "coser": coser_run(4, judges=("judge-a", "judge-b"), broken=1),
        "minimax": minimax_run(2, runs=1, broken=1),
        "form": form_run(),
        "reward": reward_run(),
    }


GOLDEN, SCHEMA = FIXTURES / "results", ROOT / "docs" / "results_schema.json"


def main() -> None:
    for name, results in golden().items():
        write_json(GOLDEN / f"{name}.json", results)
    SCHEMA.write_text(json.dumps(results_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
