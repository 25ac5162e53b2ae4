"""Calls of one scene and character go to one server, unless it fails or has too much to do; answers stay the same."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller, Ledger, Messages, Retries, Sampling, open_model
from her_hf.inference import caller as caller_module
from her_hf.inference.affinity import SLACK, choose, conversation_key, distinct_names
from her_hf.scenes import Character, Scene
from tests.support.chat import StandIn, serving

SERVERS = ["http://a:1/v1", "http://b:1/v1", "http://c:1/v1"]
KEYS = [conversation_key([{"role": "system", "content": f"You are {number}."}]) for number in range(300)]


def idle(key: str, names: list[str]) -> str:
    """The server of a key where nothing is going on."""
    return names[choose(key, names, [0] * len(names), [False] * len(names))]


def scene(number: int) -> Scene:
    names = ("Ann", "Ben")
    return Scene(
        book="Tea",
        topic=f"number {number}",
        scenario=f"Parlour {number}.",
        cast=[Character(name=name, profile=f"{name} of house {number}.") for name in names],
        dialogue=[parse_turn(f"{names[at % 2]}: Line {at}.") for at in range(8)],
    )


def calls(character: str, number: int) -> list[Messages]:
    """What is asked for each turn of a character."""
    played = scene(number)
    return [
        played.messages_for(character, turns=at)
        for at, turn in enumerate(played.dialogue)
        if turn.name == character and at  # before the first turn there is no user message
    ]


# -- the key


def test_all_turns_of_one_character_in_one_scene_have_one_key() -> None:
    keys = {
        (name, number): {conversation_key(one) for one in calls(name, number)}
        for name in ("Ann", "Ben")
        for number in (1, 2)
    }
    assert [len(found) for found in keys.values()] == [1] * 4
    assert len(set.union(*keys.values())) == 4


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Tea?"}],
        [{"role": "system", "content": [{"type": "text", "text": "You are Ann."}]}],
        [{"role": "developer", "content": "You are Ann."}, {"role": "system", "content": None}],
        [{"role": "system", "content": "half \ud83d"}],
    ],
)
def test_what_comes_later_does_not_change_the_key(messages: list[dict[str, Any]]) -> None:
    assert conversation_key(messages) == conversation_key([*messages, {"role": "user", "content": "!"}])
    assert conversation_key(messages) != conversation_key([{"role": "system", "content": "!"}, *messages])


# -- the choice


def test_the_order_of_the_servers_does_not_matter() -> None:
    for key in KEYS[:40]:
        assert len({idle(key, list(order)) for order in permutations(SERVERS)}) == 1


def test_servers_get_like_shares_of_the_keys() -> None:
    counts = Counter(idle(key, SERVERS) for key in KEYS)
    assert set(counts) == set(SERVERS) and min(counts.values()) > len(KEYS) / 3 * 0.75


def test_another_server_takes_keys_and_moves_no_others() -> None:
    moved = [(before, idle(key, SERVERS)) for key in KEYS if (before := idle(key, SERVERS[:2])) != idle(key, SERVERS)]
    assert 0.2 < len(moved) / len(KEYS) < 0.47 and {after for _, after in moved} == {SERVERS[2]}


def test_one_key_that_everybody_asks_for_leaves_no_server_idle() -> None:
    busy = [0, 0, 0]
    for number in range(1, 31):
        busy[choose(KEYS[0], SERVERS, busy, [False] * 3)] += 1
        assert max(busy) <= math.ceil(SLACK * number / 3)
    assert min(busy) > 0 and max(busy) > min(busy)


def test_a_server_that_rests_is_passed_over_and_its_keys_move_alone() -> None:
    for key in KEYS[:40]:
        home = SERVERS.index(idle(key, SERVERS))
        resting = [at == home for at in range(3)]
        assert choose(key, SERVERS, [0, 0, 0], resting) != home
        assert choose(key, SERVERS, [0, 0, 0], [True] * 3) == home  # all have failed: one has to be asked
        elsewhere = [at == (home + 1) % 3 for at in range(3)]
        assert choose(key, SERVERS, [0, 0, 0], elsewhere) == home


def test_a_conversation_stays_where_it_was_last() -> None:
    for key in KEYS[:40]:
        moved = (SERVERS.index(idle(key, SERVERS)) + 1) % 3
        assert choose(key, SERVERS, [0, 0, 0], [False] * 3, last=moved) == moved
        busy = [9 if at == moved else 0 for at in range(3)]
        assert choose(key, SERVERS, busy, [False] * 3, last=moved) != moved
        assert choose(key, SERVERS, [0, 0, 0], [at == moved for at in range(3)], last=moved) != moved


def test_calls_of_a_server_that_rests_do_not_count() -> None:
    """What hangs on a dead server must not raise the share of those that work."""
    busy, resting = [40, 0, 0], [True, False, False]
    for _ in range(20):
        busy[choose(KEYS[0], SERVERS, busy, resting)] += 1
    assert busy[0] == 40 and max(busy[1:]) <= math.ceil(SLACK * 20 / 2)


def test_backends_of_one_name_are_kept_distinct() -> None:
    assert distinct_names(["a", "b", "a", "a"]) == ["a", "b", "a 2", "a 3"]
    names = distinct_names(["a", "a"])
    assert {idle(key, names) for key in KEYS} == {"a", "a 2"}


# -- the caller


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    with ExitStack() as opened:
        yield [opened.enter_context(serving()) for _ in range(2)]


INTERLEAVED = [
    messages
    for turns in zip(*(calls(name, number)[:2] for number in range(10) for name in ("Ann", "Ben")), strict=False)
    for messages in turns
]


def asked(servers: list[StandIn], *, affinity: bool = True, concurrency: int = 4, **how: Any) -> list[str]:
    """Sends the turns of twenty characters, those of each in order; the replies."""

    async def whole() -> list[str]:
        models = [open_model(server.url) for server in servers]
        caller = Caller(models, concurrency=concurrency, affinity=affinity, **how)
        try:
            replies = []
            for start in range(0, len(INTERLEAVED), 20):
                waiting = [
                    caller.ask(messages, sampling=Sampling(seed=1)) for messages in INTERLEAVED[start : start + 20]
                ]
                replies += [reply.text for reply in await asyncio.gather(*waiting)]
            return replies
        finally:
            await caller.close()

    return asyncio.run(whole())


def homes(servers: list[StandIn]) -> dict[str, Counter[int]]:
    """Which servers answered the calls of each character."""
    found: dict[str, Counter[int]] = {}
    for at, server in enumerate(servers):
        for body in server.chats:
            found.setdefault(conversation_key(body["messages"]), Counter())[at] += 1
    return found


def test_turns_of_a_character_go_to_one_server_and_both_have_work(servers: list[StandIn]) -> None:
    asked(servers, concurrency=1)
    found = homes(servers)
    assert len(found) == 20 and {len(counts) for counts in found.values()} == {1}
    assert len({at for counts in found.values() for at in counts}) == 2


def test_without_affinity_the_least_busy_one_is_asked(servers: list[StandIn]) -> None:
    asked(servers, affinity=False, concurrency=2)
    assert any(len(counts) == 2 for counts in homes(servers).values())


def test_answers_do_not_depend_on_it(servers: list[StandIn]) -> None:
    for server in servers:
        server.answers = {one[-1]["content"]: f"Ann: answer {at}" for at, one in enumerate(INTERLEAVED)}
    kept = asked(servers)
    assert len(set(kept)) > 1
    assert asked(servers, affinity=False) == asked(servers[::-1], concurrency=1) == kept


def test_one_scene_for_all_is_shared(servers: list[StandIn]) -> None:
    for server in servers:
        server.silent = 0.02
    messages = INTERLEAVED[0]

    async def whole() -> None:
        caller = Caller([open_model(server.url) for server in servers], concurrency=8)
        await asyncio.gather(*(caller.ask(messages, sampling=Sampling(seed=seed)) for seed in range(40)))
        await caller.close()

    asyncio.run(whole())
    assert min(len(server.chats) for server in servers) >= 10


def test_calls_move_from_a_server_that_fails_and_stay_where_their_prompt_is(
    servers: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = INTERLEAVED[0]

    async def whole() -> list[int]:
        caller = Caller(
            [open_model(server.url) for server in servers], retries=Retries(first=0.001, longest=0.01), concurrency=1
        )
        await caller.ask(messages, sampling=Sampling(seed=0))
        home = next(at for at, server in enumerate(servers) if server.chats)
        servers[home].errors = [(503, "loading")]
        monkeypatch.setattr(caller_module, "_REST", 60.0)
        await caller.ask(messages, sampling=Sampling(seed=1))
        for place in caller._places:
            place.rests_until = 0.0
        for seed in (2, 3):
            await caller.ask(messages, sampling=Sampling(seed=seed))
        await caller.close()
        return [len(servers[at].chats) for at in (home, 1 - home)]

    assert asyncio.run(whole()) == [2, 3]  # the attempt that failed is a request too


def test_what_was_stored_by_one_server_is_not_asked_of_another(servers: list[StandIn], tmp_path: Any) -> None:
    for affinity in (True, False):
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            asked(servers, affinity=affinity, ledger=ledger)
    assert sum(len(server.chats) for server in servers) == len(INTERLEAVED)
