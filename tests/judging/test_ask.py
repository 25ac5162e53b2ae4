"""The one asking loop, by itself and through each judge that uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from her_hf.durable import derive_seed, digest
from her_hf.inference import Caller, Message, ModelError, Reply, Retries
from her_hf.judging import JsonReply, Judging, Missing, PairJudging, PairwiseJudge, judge_dialogue
from her_hf.judging.ask import Asked, AskSettings, ask
from her_hf.judging.critics.coser import critic_messages
from her_hf.judging.critics.minimax import Chunk, ChunkJudging, judge_chunk, judge_messages
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages, single_messages
from her_hf.scenes import Character, Scene, read_turn
from tests.support.minimax import ANN, LIN
from tests.support.pairs import a_pair

REQUEST: list[Message] = [
    {"role": "system", "content": "Judge the line."},
    {"role": "user", "content": 'Ann: I would say {"good": true}.'},
]
NOTE = "\n\n===About your answer===\n"


class Scripted:
    """A backend that gives answers in turn, the last one again and again, and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *answers: str | Reply | ModelError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[Message], Any]] = []
        self.notes: list[str] = []

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": self.name}

    async def chat(self, messages: Any, *, sampling: Any, thinking: bool = True, schema: Any = None) -> Reply:
        assert thinking is False
        self.asked.append(([dict(message) for message in messages], sampling))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, ModelError):
            raise said
        return said if isinstance(said, Reply) else Reply(said, "stop", True, content=said)

    async def window(self) -> int | None:
        return None

    async def close(self) -> None: ...


def read(found: JsonReply) -> bool | Missing:
    good = found.value.get("good")
    return good if isinstance(good, bool) else Missing("wrong_keys", f"wanted good, got {found.value}")


def asked(*answers: str | Reply | ModelError, **settings: Any) -> tuple[Asked[bool], Scripted]:
    model = Scripted(*answers)
    caller = Caller(model, retries=Retries(max_retries=0))
    found = ask(caller, REQUEST, read, settings=AskSettings(**settings), max_tokens=9, key=("k", 1))
    return asyncio.run(found), model


def last(model: Scripted, attempt: int) -> str:
    return str(model.asked[attempt][0][-1]["content"])


def test_the_first_attempt_is_the_request_as_it_stands() -> None:
    found, model = asked('{"good": false}')
    assert found == Asked(False, 1)
    ((messages, sampling),) = model.asked
    assert messages == REQUEST
    assert (sampling.temperature, sampling.max_tokens, sampling.top_p) == (0.0, 9, 1.0)
    assert sampling.seed == derive_seed(42, "k", 1, 0)


def test_a_later_attempt_knows_its_number_and_the_refusal() -> None:
    found, model = asked("no object", '{"bad": 1}', '{"good": true}')
    assert found == Asked(True, 3)
    assert [sampling.seed for _, sampling in model.asked] == [derive_seed(42, "k", 1, at) for at in range(3)]
    assert [sampling.temperature for _, sampling in model.asked] == [0.0, 1.0, 1.0]
    second, third = last(model, 1), last(model, 2)
    assert second.startswith(REQUEST[-1]["content"] + NOTE) and third.startswith(REQUEST[-1]["content"] + NOTE)
    assert "attempt 2 of 3" in second and "no JSON object" in second and "Got: no object" in second
    assert "attempt 3 of 3" in third and "wanted good, got {'bad': 1}" in third and "no object" not in third
    assert [message["role"] for message in model.asked[2][0]] == ["system", "user"]  # for templates that alternate
    assert model.asked[2][0][0] == REQUEST[0]


def test_a_cut_answer_is_asked_for_with_the_room_it_has() -> None:
    cut = Reply('Let me see: {"good": true}', "length", False, content='Let me see: {"good": true}')
    found, model = asked(cut, '{"good": true}')
    assert found == Asked(True, 2) and "room for 9 tokens" in last(model, 1)
    _, model = asked("no object", '{"good": true}')
    assert "room for" not in last(model, 1)


def test_after_the_last_attempt_the_last_refusal_counts() -> None:
    found, model = asked("no object", '{"bad": 1}', attempts=2)
    assert isinstance(found.found, Missing) and found.found.cause == "wrong_keys"
    assert found.attempts == len(model.asked) == 2


def test_a_call_that_fails_ends_the_asking() -> None:
    found, _ = asked(ModelError("gone", kind="status", status=404))
    assert found == Asked(Missing("request", "gone"), 1)
    found, _ = asked("no object", ModelError("gone", kind="status", status=404))
    assert found == Asked(Missing("request", "gone"), 2)


def test_what_was_judged_is_quoted_in_every_attempt_and_an_own_answer_is_not() -> None:
    found, _ = asked('She says:\n{"good": true}', attempts=2)
    assert isinstance(found.found, Missing) and "quoted" in found.found.detail
    found, _ = asked('{"good": false}\nI hope that helps.', 'As before:\n{"good": false}')
    assert found == Asked(False, 2)


def test_the_note_is_bounded_and_forges_no_turn() -> None:
    _, model = asked("<|im_end|></s>" + "x" * 10_000, '{"good": true}')
    note = last(model, 1).partition(NOTE)[2]
    assert "<|im_end|>" not in note and "</s>" not in note and "im_end" in note
    assert len(note) < 1_000


def test_there_is_at_least_one_attempt() -> None:
    for settings in (AskSettings, Judging, ChunkJudging, PairJudging):
        with pytest.raises(ValueError, match="attempts must be at least 1, got 0"):
            settings(attempts=0)


# -- each judge

SCENE = Scene(
    book="The Lamp",
    scenario="A lighthouse.",
    cast=[Character(name="Ann", profile="Keeps the lamp."), Character(name="Bob")],
    dialogue=[read_turn("[No.] The lamp is lit.", "Ann", notation="coser"), read_turn("So you say.", "Bob")],
)
TURNS = [{"role": "ai", "name": "Ann", "text": "(nods)\nYes.", "round": 2}]
CHUNK = Chunk(0, TURNS, [{"role": "user", "name": "Guest", "text": "Well?", "round": 1}])
PAIR = a_pair()

Judge = Callable[[Caller], Any]
JUDGES: dict[str, tuple[Judge, list[Message], Any]] = {
    "coser": (
        lambda caller: judge_dialogue(caller, SCENE, SCENE.dialogue, "SQ"),
        critic_messages(SCENE, SCENE.dialogue, "SQ"),
        (list(SCENE.key), "SQ", 0),
    ),
    "minimax": (
        lambda caller: judge_chunk(caller, ANN, CHUNK, key=["mill", 0]),
        judge_messages(ANN, CHUNK),
        (["mill", 0], 0),
    ),
    "minimax in Chinese": (
        lambda caller: judge_chunk(caller, LIN, CHUNK, key=["mill", 0]),
        judge_messages(LIN, CHUNK),
        (["mill", 0], 0),
    ),
    "pairwise": (
        lambda caller: PairwiseJudge(caller, PairJudging(both_orders=False)).judge(PAIR),
        pair_messages(PAIR),
        ([PAIR.key],),
    ),
    "compact": (
        lambda caller: PairwiseJudge(caller, PairJudging(form="compact", both_orders=False)).judge(PAIR),
        compact_messages(PAIR),
        ([PAIR.key],),
    ),
    "pointwise": (
        lambda caller: PairwiseJudge(caller, PairJudging(comparison="pointwise")).judge(PAIR),
        single_messages(PAIR, "cand_1"),
        ([PAIR.key, "cand_1"],),
    ),
}


@pytest.mark.parametrize("name", JUDGES)
def test_every_judge_asks_by_this_loop(name: str) -> None:
    judge, messages, key = JUDGES[name]
    model = Scripted("prose")
    asyncio.run(judge(Caller(model, retries=Retries(max_retries=0), concurrency=1)))
    own = [
        (sent, sampling) for sent, sampling in model.asked if sent[-1]["content"].startswith(messages[-1]["content"])
    ]
    assert len(own) == 3 and own[0][0] == messages
    assert [sampling.seed for _, sampling in own] == [derive_seed(42, *key, at) for at in range(3)]
    assert all(f"attempt {at} of 3" in sent[-1]["content"] for at, (sent, _) in enumerate(own[1:], start=2))


FIRST_PROMPTS = {
    "coser": "09b2251b4f0ec2f7",
    "minimax": "c4ee95abd20019c4",
    "minimax in Chinese": "88fd05ecd9948759",
    "pairwise": "3b5825d79be86e14",
    "compact": "55263d016bcb59e1",
    "pointwise": "663922384321c6c6",
}
"""Digests of first requests. With others no figure can be compared with those before: then the CHANGELOG says so."""


@pytest.mark.parametrize("name", JUDGES)
def test_first_requests_are_byte_for_byte_what_they_were(name: str) -> None:
    assert digest(json.loads(json.dumps(JUDGES[name][1])))[:16] == FIRST_PROMPTS[name]
