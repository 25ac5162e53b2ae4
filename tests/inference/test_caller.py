"""Asking reliably: ledger, retries, several servers, limits, batches."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from her_hf.inference import (
    AccessRefused,
    Caller,
    Ledger,
    Messages,
    ModelError,
    Prompt,
    Reply,
    Retries,
    Sampling,
    Usage,
    open_model,
)
from her_hf.inference.gather import Gathered
from her_hf.inference.ledger import call_key
from her_hf.inference.window import WindowFull
from tests.support.chat import serving

QUICK = Retries(max_retries=4, first=0.001, longest=0.01)
ASKED: Messages = [{"role": "user", "content": "Tea?"}]


class Rule:
    """A backend that answers by a rule and notes what it was asked."""

    def __init__(self, rule: Callable[[int], str | ModelError], name: str = "rule", pause: float = 0.0) -> None:
        self.rule, self.label, self.pause = rule, name, pause
        self.calls: list[Sampling] = []
        self.busy = self.most_busy = 0
        self.notes: list[str] = []

    @property
    def name(self) -> str:
        return self.label

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": self.label.split("@")[0]}

    async def chat(
        self, messages: Messages, *, sampling: Sampling, thinking: bool = True, schema: Any = None
    ) -> Reply:
        self.calls.append(sampling)
        said = self.rule(len(self.calls))
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(self.pause)
        self.busy -= 1
        if isinstance(said, ModelError):
            raise said
        return Reply(said, "stop", True, Usage(3, 2), said, None, self.label)

    async def window(self) -> int | None:
        return None

    async def close(self) -> None: ...


def failing(kind: str, status: int | None = None) -> ModelError:
    return ModelError("no", kind=kind, status=status)


def ask(caller: Caller, *seeds: int, **kwargs: Any) -> list[Reply]:
    async def whole() -> list[Reply]:
        asked = [caller.ask(ASKED, sampling=Sampling(seed=seed), **kwargs) for seed in seeds]
        return list(await asyncio.gather(*asked))

    return asyncio.run(whole())


def test_what_was_asked_once_is_not_asked_again(tmp_path: Path) -> None:
    model = Rule(lambda call: f"answer {call}")
    for _ in range(2):
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            replies = ask(Caller(model, ledger=ledger), 1, 2, 1)
    assert [reply.text for reply in replies] == ["answer 1", "answer 2", "answer 1"]
    assert len(model.calls) == 2  # the equal one waited for the first, and the second run asked nothing
    assert replies[0].usage == Usage(3, 2)


KEYED: dict[str, Any] = {
    "fingerprint": {"model": "a", "template": "t"},
    "messages": ASKED,
    "sampling": Sampling(seed=1),
    "thinking": True,
    "schema": None,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fingerprint", {"model": "b", "template": "t"}),
        ("fingerprint", {"model": "a", "template": "u"}),
        ("messages", [{"role": "user", "content": "Tea!"}]),
        ("messages", [{"role": "system", "content": "Tea?"}]),
        ("sampling", Sampling(seed=2)),
        ("sampling", Sampling(seed=1, temperature=0.1)),
        ("sampling", Sampling(seed=1, stop=("x",))),
        ("thinking", False),
        ("schema", {"type": "object"}),
    ],
)
def test_whatever_could_change_an_answer_changes_the_key(field: str, value: Any) -> None:
    def key(values: dict[str, Any]) -> str:
        rest = dict(values)
        return call_key(rest.pop("fingerprint"), rest.pop("messages"), **rest)

    assert key(KEYED) == key(dict(KEYED)) != key({**KEYED, field: value})


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (failing("status", 429), 5),
        (failing("status", 503), 5),
        (failing("timeout"), 5),
        (failing("dropped"), 5),
        (failing("connection"), 5),
        (failing("protocol"), 5),
        (failing("status", 400), 1),
        (failing("local"), 1),
    ],
)
def test_what_may_pass_is_tried_again(error: ModelError, calls: int) -> None:
    model = Rule(lambda _: error)
    caller = Caller(model, retries=QUICK)
    with pytest.raises(ModelError):
        ask(caller, 1)
    assert len(model.calls) == calls
    assert caller.spent.failed == 1 and caller.spent.retried == calls - 1 and caller.spent.asked == 0


def test_a_server_that_lets_nobody_in_ends_the_work() -> None:
    """Not a failure of one call, which an evaluation would count and go on: all others would be refused as well."""
    with serving(errors=[(401, "bad key"), (403, '{"error": "not your model"}')]) as server:
        for said in ("answered 401: bad key. Set HER_HF_API_KEY", "answered 403: not your model. Set HER_HF_API_KEY"):
            with pytest.raises(AccessRefused, match=said):
                ask(Caller(open_model(server.url), retries=QUICK), 1)
        assert len(server.chats) == 2
    assert issubclass(AccessRefused, OSError) and not issubclass(AccessRefused, ModelError)


def test_a_refused_prompt_is_no_refused_key() -> None:
    flagged = Rule(lambda _: ModelError("403: your input was flagged by moderation", kind="status", status=403))
    with pytest.raises(ModelError, match="flagged"):
        ask(Caller(flagged, retries=QUICK), 1)
    later = Caller(Rule(lambda call: "yes" if call == 1 else failing("status", 403)), retries=QUICK)
    ask(later, 1)
    with pytest.raises(ModelError):
        ask(later, 2)


def test_notes_of_the_model_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    model = Rule(lambda _: "yes")
    model.notes.append("m does not take the field seed: requests go without it.")
    caller = Caller(model)
    ask(caller, 1, 2)
    model.notes.append("m only streams: replies are put together here.")
    ask(caller, 3)
    said = [record.message for record in caplog.records if record.name.startswith("her_hf")]
    assert said == model.notes


def test_an_answer_after_failures_counts_once(tmp_path: Path) -> None:
    model = Rule(lambda call: "yes" if call > 3 else failing("status", 500))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        caller = Caller(model, ledger=ledger, retries=QUICK)
        assert [reply.text for reply in ask(caller, 7)] == ["yes"]
        assert len(ledger) == 1
    assert caller.spent.as_dict() == {
        "asked": 1,
        "kept": 0,
        "retried": 3,
        "failed": 0,
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "uncounted": 0,
    }


def test_the_server_says_how_long_to_wait() -> None:
    asked = ModelError("busy", kind="status", status=429, retry_after=7.0)
    assert Retries(longest=60).wait(0, asked) == 7.0
    assert Retries(longest=5).wait(0, asked) == 5.0
    for asked_for in (None, 0.0, 0.001):
        error = ModelError("busy", kind="status", status=429, retry_after=asked_for)
        waits = [Retries(first=1, longest=60).wait(attempt, error) for attempt in range(10)]
        assert all(0.5 * min(2.0**at, 60) <= wait <= min(2.0**at, 60) for at, wait in enumerate(waits))


def test_a_server_that_always_says_to_come_back_now_is_not_stormed() -> None:
    begun = time.monotonic()
    model = Rule(lambda _: ModelError("busy", kind="status", status=429, retry_after=0.0))
    with pytest.raises(ModelError):
        ask(Caller(model, retries=Retries(max_retries=3, first=0.1)), 1)
    assert len(model.calls) == 4 and time.monotonic() - begun >= 0.35


def test_a_limit_on_concurrent_calls() -> None:
    model = Rule(lambda call: str(call), pause=0.005)
    ask(Caller(model, concurrency=3), *range(20))
    assert model.most_busy == 3


def test_servers_of_one_model_share_calls_and_one_that_fails_rests() -> None:
    good, bad = Rule(lambda _: "yes", "m@1", pause=0.002), Rule(lambda _: failing("connection"), "m@2")
    replies = ask(Caller([bad, good], retries=QUICK, concurrency=4), *range(12))
    assert [reply.text for reply in replies] == ["yes"] * 12
    assert len(bad.calls) <= 4 and len(good.calls) == 12
    one, other = Rule(lambda _: "a", "m@1", pause=0.002), Rule(lambda _: "a", "m@2", pause=0.002)
    ask(Caller([one, other], concurrency=4, affinity=False), *range(12))
    assert abs(len(one.calls) - len(other.calls)) <= 2


def test_servers_of_different_models_are_refused() -> None:
    with pytest.raises(ValueError, match="do not serve the same model"):
        ask(Caller([Rule(lambda _: "", "a@1"), Rule(lambda _: "", "b@2")]), 1)


def test_a_waiting_call_hears_of_the_failure_too() -> None:
    caller = Caller(Rule(lambda _: failing("status", 400), pause=0.005))

    async def whole() -> list[Any]:
        asked = [caller.ask(ASKED, sampling=Sampling(seed=1)) for _ in range(3)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    assert [type(found) for found in asyncio.run(whole())] == [ModelError] * 3


def _fill(file: str, start: int) -> None:
    async def fill(ledger: Ledger) -> None:
        for first in range(start, start + 150, 10):  # ten at a time are committed together
            replies = [(f"{at:04}", Reply(f"{at} by {start}", "stop", True)) for at in range(first, first + 10)]
            await asyncio.gather(*(ledger.put(*reply) for reply in replies))

    with Ledger(file) as ledger:
        asyncio.run(fill(ledger))


def test_two_processes_share_a_ledger(tmp_path: Path) -> None:
    file = str(tmp_path / "shared.sqlite")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(file, start)) for start in (0, 75)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    with Ledger(file) as ledger:
        assert len(ledger) == 225
        first = ledger.get("0100")
        assert first is not None and asyncio.run(ledger.put("0100", Reply("late", "stop", True))) == first
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.sqlite"
    file.write_text("my notes, which are long enough to be no database header\n" * 40)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="is not a ledger"):
        Ledger(file).get("0")
    assert file.read_bytes() == before


OLDER_TABLES = {
    "of another program": ("CREATE TABLE users (id INTEGER)", "is not a ledger .*holds the table 'users'"),
    "without the reply": (
        "CREATE TABLE replies (key TEXT, answer TEXT)",
        r"replies must have .* got \['key', 'answer'\]",
    ),
    "with other claims": (
        "CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT NOT NULL, reply TEXT NOT NULL, made TEXT NOT NULL); "
        "CREATE TABLE claims (key TEXT, process INTEGER)",
        "claims must have",
    ),
}


@pytest.mark.parametrize("which", OLDER_TABLES)
def test_a_database_of_another_shape_is_refused_and_left_alone(which: str, tmp_path: Path) -> None:
    tables, said = OLDER_TABLES[which]
    file = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(tables)
    before = file.read_bytes()
    with pytest.raises(ValueError, match=said) as refused:
        ask(Caller(Rule(lambda _: "Yes."), ledger=Ledger(file)), 1)
    assert "delete this one" in str(refused.value) and str(file) in str(refused.value)
    assert file.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == ["ledger.sqlite"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda reply: "Yes.", "JSONDecodeError"),
        (lambda reply: "[]", "AttributeError"),
        (lambda reply: json.dumps({**reply, "finish": "stop"}), r"unknown fields: \['finish'\]"),
        (lambda reply: json.dumps({key: reply[key] for key in reply if key != "ended"}), r"fields: \['ended'\]"),
        (lambda reply: json.dumps({**reply, "usage": {"total": 7}}), "'completion_tokens', 'prompt_tokens', 'total'"),
        (lambda reply: json.dumps({**reply, "ended": "yes"}), "ended"),
    ],
)
def test_a_reply_of_another_shape_is_refused(change: Callable[[Any], str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    with Ledger(file) as ledger:
        ask(Caller(Rule(lambda _: "Yes."), ledger=ledger), 1)
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        (text,) = database.execute("SELECT reply FROM replies").fetchone()
        database.execute("UPDATE replies SET reply = ?", (change(json.loads(text)),))
    rule = Rule(lambda _: "Yes.")
    with Ledger(file) as ledger, pytest.raises(ValueError, match=f"not written by this version .*{said}"):
        ask(Caller(rule, ledger=ledger), 1)
    assert not rule.calls


def test_a_caller_needs_a_model() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        Caller([])
    with pytest.raises(ValueError, match="at least 1"):
        Caller(Rule(lambda _: ""), concurrency=0)


def test_a_schema_goes_over_the_wire_and_is_done_without_where_refused() -> None:
    schema = {"title": "answer", "type": "object"}
    with serving() as server:
        model = open_model(server.url)
        asyncio.run(model.chat(ASKED, schema=schema))
        sent = server.chats[-1]["response_format"]
        assert sent == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    with serving(refuses=("response_format",)) as server:
        model = open_model(server.url)
        reply = asyncio.run(model.chat(ASKED, schema=schema))
        assert reply.text and "response_format" not in server.chats[-1]
        assert any("response_format" in note for note in model.notes)


def test_a_server_is_known_by_model_and_template_and_not_by_address() -> None:
    prints = []
    for way in ("split", "split", "plain"):
        with serving(tokenizes=True, way=way) as server:
            prints.append(asyncio.run(open_model(server.url).fingerprint()))
    assert prints[0] == prints[1] != prints[2]
    with serving() as server:
        assert asyncio.run(open_model(server.url).fingerprint()) == {"model": "her-tiny", "template": None}


def test_calls_that_wait_become_one_batch() -> None:
    batches: list[tuple[list[str], list[int | None]]] = []

    async def generate(messages: Any, *, sampling: Any, seeds: Any, thinking: Any, batch_size: Any) -> list[Reply]:
        batches.append(([conversation[0]["content"] for conversation in messages], list(seeds)))
        await asyncio.sleep(0.005)
        if messages[0][0]["content"] == "bad":
            raise ModelError("out of memory", kind="local")
        return [Reply(conversation[0]["content"] + "!", "stop", True) for conversation in messages]

    gathered = Gathered(generate, max_batch=4)

    def call(text: str, **how: Any) -> Any:
        return gathered.ask([{"role": "user", "content": text}], Sampling(**how), True)

    async def whole() -> list[Any]:
        first = [call(f"m{seed}", seed=seed) for seed in range(6)]
        return list(
            await asyncio.gather(*first, call("cold", temperature=0), call("bad", top_p=0.5), return_exceptions=True)
        )

    found = asyncio.run(whole())
    assert [reply.text for reply in found[:7]] == ["m0!", "m1!", "m2!", "m3!", "m4!", "m5!", "cold!"]
    assert isinstance(found[7], ModelError)
    assert [texts for texts, _ in batches] == [["m0", "m1", "m2", "m3"], ["m4", "m5"], ["cold"], ["bad"]]
    assert batches[0][1] == [0, 1, 2, 3]


def _open(file: str) -> None:
    with Ledger(file) as ledger:
        ledger.get("0")


def test_processes_that_create_one_ledger_concurrently(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(12):
        file = str(tmp_path / f"{attempt}.sqlite")
        workers = [context.Process(target=_open, args=(file,)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert [worker.exitcode for worker in workers] == [0] * 4


def test_a_prompt_that_could_not_be_counted_is_counted_again() -> None:
    class Counting(Rule):
        failures = 2

        async def window(self) -> int | None:
            return 120

        async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
            if self.failures:
                self.failures -= 1
                raise failing("dropped")
            return Prompt("", 10, exact=True)

    long: Messages = [{"role": "user", "content": "Tea? " * 100}]
    caller = Caller(Counting(lambda _: ""), retries=QUICK)
    assert asyncio.run(caller.fit(long, max_tokens=20)) == (long, 0, 20)


class Windowed(Rule):
    """A model with a window of 100 tokens; a prompt takes one for each character."""

    async def window(self) -> int | None:
        return 100

    async def prompt(self, messages: Messages, *, thinking: bool = True) -> Prompt:
        return Prompt("", sum(len(message["content"]) for message in messages), exact=True)


def turns(*lengths: int) -> Messages:
    """A system message and turns of these lengths, from the user and the assistant in turn."""
    roles = ["system", *(["user", "assistant"] * len(lengths))]
    return [{"role": role, "content": "茶" * length} for role, length in zip(roles, lengths, strict=False)]


@pytest.mark.parametrize(
    ("max_tokens", "lengths", "dropped", "left"),
    [
        (40, (10, 20), 0, 40),  # as asked
        (100, (10, 20), 0, 70),  # nothing would be left for the prompt
        (4096, (10, 20), 0, 70),
        (60, (10, 40), 0, 50),  # the newest exchange leaves less, but enough
        (100, (10, 30, 30, 30), 1, 30),  # the oldest turns are dropped first
        (100, (10, 65), 0, 25),  # a quarter of the window
    ],
)
def test_a_reply_gets_what_the_prompt_leaves(
    max_tokens: int, lengths: tuple[int, ...], dropped: int, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    caller = Caller(Windowed(lambda _: ""))
    for _ in range(2):
        room = asyncio.run(caller.fit(turns(*lengths), max_tokens=max_tokens))
        assert (room.dropped, room.max_tokens) == (dropped, left)
    told = [record.message for record in caplog.records if "the reply gets what is left" in record.message]
    assert len(told) == (left < max_tokens)


@pytest.mark.parametrize(("max_tokens", "length"), [(100, 66), (20, 75)])
def test_a_prompt_that_leaves_too_little_is_refused(max_tokens: int, length: int) -> None:
    with pytest.raises(WindowFull, match="newest exchange alone take"):
        asyncio.run(Caller(Windowed(lambda _: "")).fit(turns(10, length), max_tokens=max_tokens))
