"""Playing a scene: who sees what, who speaks, how replies become turns, what happens when a call fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from her_hf.dual_layer import ENVIRONMENT, Layer, parse_turn
from her_hf.inference import Caller, Message, ModelError, Reply, Retries, Sampling, Usage
from her_hf.scenes import Character, Scene, load_scenes
from her_hf.simulation.coser import (
    CoserSettings,
    Performance,
    Troupe,
    first_speaker,
    play_scene,
    replayed,
    speakers_of,
)
from her_hf.simulation.replies import read_reply
from tests.support.paths import SHARED

COSER = SHARED / "data" / "coser"
Answer = Callable[[list[Message]], str | ModelError]


class Agent:
    """Answers by a rule and keeps what it was asked."""

    def __init__(self, answer: Answer, window: int | None = None) -> None:
        self.answer, self.space = answer, window
        self.asked: list[list[Message]] = []
        self.sampling: list[Sampling] = []
        self.thinking: list[bool] = []
        self.notes: list[str] = []

    name = "agent"

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": "agent"}

    async def chat(
        self, messages: Sequence[Message], *, sampling: Sampling, thinking: bool = True, schema: Any = None
    ) -> Reply:
        self.asked.append([dict(message) for message in messages])
        self.sampling.append(sampling)
        self.thinking.append(thinking)
        said = self.answer(self.asked[-1])
        if isinstance(said, ModelError):
            raise said
        return Reply(said, "stop", True, Usage(1, 1), said)

    async def prompt(self, messages: Sequence[Message], *, thinking: bool = True) -> Any:
        from her_hf.inference import Prompt

        return Prompt("", sum(len(message["content"]) // 4 for message in messages), exact=True)

    async def window(self) -> int | None:
        return self.space

    async def close(self) -> None: ...


def scene() -> Scene:
    return Scene(
        book="The Mill",
        scenario="A mill at dusk.",
        cast=[
            Character(
                name="Ann", profile="Hides a letter.", description="Has just come in.", motivation="He must go."
            ),
            Character(name="Bob", profile="Looks for it.", motivation="I shall find it."),
        ],
        dialogue=[
            parse_turn("Ann: <role_thinking>Not the drawer.</role_thinking> Tea?"),
            parse_turn("Bob: <role_thinking>It is here.</role_thinking> Please."),
            parse_turn("Ann: <role_action>pours</role_action> Sugar?"),
        ],
    )


def her_actor(messages: list[Message]) -> str:
    who = "Ann" if "You are Ann" in messages[0]["content"] else "Bob"
    count = sum(message["role"] == "assistant" for message in messages)
    return (
        f"<system_thinking>\n{who} plans {count}.\n</system_thinking>\n{who}: <role_thinking>secret {who} {count}"
        f"</role_thinking> <role_action>nods</role_action> Word {who} {count}."
    )


def alternate(messages: list[Message]) -> str:
    last = messages[-1]["content"].split("\n\n===")[0].split("\n\n")[-1]
    return "Next Speaker: " + ("Bob" if last.startswith("Ann") else "Ann")


def play(
    actor: Agent,
    *,
    world: Agent | None = None,
    director: Agent | None = None,
    of: Scene | None = None,
    **settings: Any,
) -> Performance:
    callers = [
        Caller(agent, retries=Retries(max_retries=0))
        for agent in (actor, world or Agent(lambda _: "Environment: The wind rises."), director or Agent(alternate))
    ]
    return asyncio.run(play_scene(of or scene(), Troupe(*callers), CoserSettings(**settings)))


@pytest.mark.parametrize(
    ("style", "reply"),
    [
        ("her", "{}: <role_thinking>It is a secret.</role_thinking> <role_action>nods</role_action> Tea?"),
        *(
            (style, reply)
            for style in ("coser", "plain")
            for reply in (
                "{}: [It is a secret.] (nods) Tea?",
                "{}：［It is a secret.］（nods）Tea?",
                "{}: 【It is a secret.】（nods）Tea?",
                "{}: 【It is a secret.] （nods) Tea?",
            )
        ),
    ],
)
def test_thoughts_stay_with_their_character_in_the_notation_of_each_style(style: str, reply: str) -> None:
    actor = Agent(lambda messages: reply.format("Ann" if "You are Ann" in messages[0]["content"] else "Bob"))
    world, director = Agent(lambda _: "The wind rises."), Agent(alternate)
    played = play(actor, world=world, director=director, rounds=4, style=style)
    assert [turn.turn.pattern for turn in played.turns] == ["TAS"] * 4
    assert [turn.turn.text_of([Layer.ROLE_THINKING]) for turn in played.turns] == ["It is a secret."] * 4
    others = [message["content"] for asked in actor.asked for message in asked if message["role"] == "user"]
    own = [message["content"] for asked in actor.asked for message in asked if message["role"] == "assistant"]
    assert "nods" in "".join(others) and "secret" not in "".join(others)
    assert own and all("secret" in text for text in own)
    assert "secret" not in str(director.asked)
    kept = [turn.as_dict() for turn in played.turns]  # and the judge, which reads the record
    assert "secret" not in str([replayed(row["name"], row["text"]).render(view="others") for row in kept])


def test_each_sees_what_it_may() -> None:
    actor, director = Agent(her_actor), Agent(alternate)
    played = play(actor, director=director, rounds=5)
    assert [turn.name for turn in played.turns] == ["Ann", "Bob", "Ann", "Bob", "Ann"]
    assert played.ended_by == "rounds" and played.named == 4 and played.drawn == 0
    assert len(director.asked) == 4  # none after the last round
    for asked in actor.asked + director.asked:
        assert all("plans" not in message["content"] for message in asked)
    last = actor.asked[-1]
    who, other = "Ann", "Bob"
    seen = "\n".join(message["content"] for message in last[1:])
    assert f"secret {who} 1" in seen and f"secret {other}" not in seen and f"{other}: " in seen
    assert [message["role"] for message in last] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert last[1]["content"] == "===Conversation Start==="
    assert "Hides a letter." in last[0]["content"] and "Has just come in.\n\nHides a letter." in last[0]["content"]
    assert "He must go." in last[0]["content"] and "I shall find it." not in last[0]["content"]
    for asked in director.asked:
        assert "secret" not in asked[-1]["content"]
    assert all(actor.thinking) and not any(director.thinking)


def test_every_call_has_a_seed_of_its_own_that_repeats() -> None:
    first, second = Agent(her_actor), Agent(her_actor)
    play(first, rounds=6)
    play(second, rounds=6)
    seeds = [sampling.seed for sampling in first.sampling]
    assert len(set(seeds)) == 6 and seeds == [sampling.seed for sampling in second.sampling]
    play(other := Agent(her_actor), rounds=6, seed=43)
    assert not {sampling.seed for sampling in other.sampling} & set(seeds)


@pytest.mark.parametrize(
    ("style", "thinking", "sampling"),
    [
        ("her", True, Sampling(4096, 0.7, 0.9)),
        ("coser", False, Sampling(512, 0.0, 0.9)),
        ("plain", False, Sampling(512, 0.7, 0.9)),
    ],
)
def test_three_styles_in_one_mechanism(style: str, thinking: bool, sampling: Sampling) -> None:
    said = her_actor if style == "her" else (lambda _: "[I wait.] (nods) Well.")
    actor = Agent(said)
    played = play(actor, rounds=4, style=style)
    assert all(turn.turn.pattern == "TAS" and turn.visible for turn in played.turns)
    last = actor.asked[-1]
    own, heard = last[3 if last[1]["content"] == "===Conversation Start===" else 2]["content"], last[-1]["content"]
    if style == "her":
        assert "<role_thinking>" in own and "<role_action>" in heard
    else:
        assert own.endswith("[I wait.] (nods) Well.") and heard.endswith("(nods) Well.") and "I wait" not in heard
        assert (
            "[square brackets]" in last[0]["content"] if style == "plain" else "[inner thoughts]" in last[0]["content"]
        )
    assert actor.thinking == [thinking] * 4
    drawn = actor.sampling[0]
    assert (drawn.max_tokens, drawn.temperature, drawn.top_p) == (
        sampling.max_tokens,
        sampling.temperature,
        sampling.top_p,
    )


def test_a_style_is_never_guessed() -> None:
    with pytest.raises(ValueError, match="style must be one of"):
        CoserSettings(style="qwen")


def test_the_first_turns_can_come_from_the_original() -> None:
    actor = Agent(her_actor)
    played = play(actor, rounds=4, continue_from=2)
    assert [turn.origin for turn in played.turns] == ["original", "original", "model", "model"]
    assert [turn.name for turn in played.turns] == ["Ann", "Bob", "Ann", "Bob"]
    assert "Not the drawer." in actor.asked[0][2]["content"] and "It is here" not in str(actor.asked[0])
    with pytest.raises(ValueError, match=r"--continue-from .* below --rounds, from 0 to"):
        CoserSettings(rounds=3, continue_from=3)


def test_the_end_mark_counts_from_round_five_on() -> None:
    director = Agent(lambda _: "<END CHAT>")
    played = play(Agent(her_actor), director=director, rounds=10)
    assert played.ended_by == "end_chat" and len(played.turns) == 6 and played.drawn == 5
    assert ["<END CHAT>" in asked[0]["content"] for asked in director.asked] == [False] * 5 + [True]


def test_an_answer_that_names_nobody_is_drawn_by_seed_and_counted() -> None:
    lost = Agent(lambda _: "I cannot say.")
    first = play(Agent(her_actor), director=lost, rounds=8)
    again = play(Agent(her_actor), director=lost, rounds=8)
    names = [turn.name for turn in first.turns]
    assert first.drawn == 7 and names == [turn.name for turn in again.turns]
    assert all(one != other for one, other in pairwise(names))


def test_the_world_has_its_own_model_and_no_thoughts() -> None:
    world = Agent(lambda _: "Environment: The [old] door slams (twice).")
    director = Agent(lambda messages: "Environment" if "door" not in messages[-1]["content"] else "Bob")
    actor = Agent(her_actor)
    played = play(actor, world=world, director=director, rounds=3)
    assert [turn.name for turn in played.turns] == ["Ann", ENVIRONMENT, "Bob"]
    assert len(world.asked) == 1 and world.thinking == [False] and "world around" in world.asked[0][0]["content"]
    assert "The [old] door slams (twice)." in actor.asked[-1][-1]["content"]


@pytest.mark.parametrize(
    ("text", "kept", "cut"),
    [
        ("Ann: Well.\nBob: And I say no.", "Well.", True),
        (
            "Ann: Well. <role_action>sits</role_action>\nEnvironment: Rain.\nAnn: more",
            "Well. <role_action>sits</role_action>",
            True,
        ),
        ("<system_thinking>\nBob: no\n</system_thinking>\nAnn: Well.", "Well.", False),
        ("Well, Bob: no.", "Well, Bob: no.", False),
        ("Bob: I speak for him.", "", True),
        ("Ann: Bob and I.\nSomebody: x", "Bob and I.\nSomebody: x", False),
    ],
)
def test_what_is_written_for_another_is_cut_and_kept_in_raw(text: str, kept: str, cut: bool) -> None:
    played = read_reply(Reply(text, "stop", True), "Ann", ["Ann", "Bob"], notation="her")
    row = played.as_dict()
    assert (row["text"], row["cut"], row["raw"], row["name"]) == (kept, cut, text, "Ann")


def test_a_turn_without_anything_visible_is_asked_for_again() -> None:
    answers = ["<system_thinking>\nAnn plans", "Bob: wrong man", "Ann: At last."]
    actor = Agent(lambda _: answers.pop(0))
    played = play(actor, rounds=1)
    assert played.turns[0].attempts == 3 and played.turns[0].turn.render(view="others") == "Ann: At last."
    assert len({sampling.seed for sampling in actor.sampling}) == 3
    assert [sampling.temperature for sampling in actor.sampling] == [0.7, 1.0, 1.0]
    silent = play(Agent(lambda _: "<system_thinking>\nAnn plans"), rounds=2)
    assert [turn.visible for turn in silent.turns] == [False, False]
    assert silent.turns[0].attempts == 3 and "unclosed" in silent.turns[0].issues
    assert silent.turns[0].raw == "<system_thinking>\nAnn plans"


def test_a_failed_call_ends_the_scene_and_says_why() -> None:
    calls = iter([her_actor, her_actor])

    def breaking(messages: list[Message]) -> str | ModelError:
        rule = next(calls, None)
        return rule(messages) if rule else ModelError("the engine died", kind="status", status=400)

    played = play(Agent(breaking), rounds=5)
    assert played.ended_by == "failed" and len(played.turns) == 2
    assert played.failure == {"cause": "status", "detail": "the engine died (HTTP 400)"}


def test_oldest_turns_go_when_the_window_is_small_and_are_counted() -> None:
    actor = Agent(her_actor, window=480)
    played = play(actor, rounds=14, max_tokens=100)
    assert played.ended_by == "rounds" and played.turns[-1].dropped > 0
    assert "secret Ann 0" not in str(actor.asked[-1]) and "===Conversation Start===" in actor.asked[-1][1]["content"]
    tiny = play(Agent(her_actor, window=200), rounds=3, max_tokens=150)
    assert tiny.ended_by == "failed" and tiny.failure is not None and tiny.failure["cause"] == "window"


def test_one_speaker_an_empty_profile_and_a_name_full_of_signs() -> None:
    name = "A.B. (the *Elder*) [x]+?"
    alone = Scene(
        book="B", scenario="Here.", cast=[Character(name=name)], dialogue=[parse_turn(f"{name}: Hm.", names=[name])]
    )
    said = Agent(lambda messages: f"{name}: Hm {len(messages)}.")
    played = play(said, of=alone, director=Agent(lambda _: "random"), rounds=4)
    assert [turn.name for turn in played.turns] == [name, ENVIRONMENT, name, ENVIRONMENT]
    assert played.turns[0].turn.render(view="others") == f"{name}: Hm 2."


def test_speakers_of_the_released_scenes() -> None:
    if not COSER.exists():
        pytest.skip("../shared is not there")
    scenes = load_scenes(COSER / "scenes_id.json")
    opened_by_world = 0
    for one in scenes:
        names = speakers_of(one)
        assert ENVIRONMENT in names and len(set(names)) == len(names)
        first = first_speaker(one, names)
        opened_by_world += first == ENVIRONMENT
        assert first == ENVIRONMENT or first == next(name for name in names if name != ENVIRONMENT)
    assert opened_by_world == sum(one.dialogue[0].name == ENVIRONMENT for one in scenes) > 0


def test_the_next_speaker_is_asked_of_as_many_turns_as_fit() -> None:
    director = Agent(alternate, window=330)
    played = play(Agent(her_actor), director=director, rounds=30)
    assert played.ended_by == "rounds" and played.named == 29
    assert "Word Ann 0." in director.asked[0][-1]["content"]
    assert "Word Ann 0." not in director.asked[-1][-1]["content"] and "Word" in director.asked[-1][-1]["content"]


def test_other_prompts_are_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CoserSettings().as_dict()
    monkeypatch.setattr("her_hf.simulation.coser.scene_prompt_source", lambda language: f"other {language}")
    assert CoserSettings().as_dict()["prompts"] != before["prompts"]
