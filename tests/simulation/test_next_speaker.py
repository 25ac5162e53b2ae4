"""Reading who speaks next, and drawing when nobody is named."""

from __future__ import annotations

import json
import time

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.scenes import Character, Scene
from her_hf.simulation import END_CHAT, parse_next_speaker
from her_hf.simulation.coser import draw_speaker
from her_hf.simulation.next_speaker import next_speaker_messages
from tests.support.paths import SHARED

NAMES = ["Jon", "Jon Snow", "Ygritte", "Ron", "A.B. (the Elder)", "Environment"]
ENTRIES = SHARED / "reference" / "conformance.json"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Next Speaker: Ygritte", "Ygritte"),
        ("**Next Speaker:** Ygritte", "Ygritte"),
        ("Next Speaker: **Ygritte**", "Ygritte"),
        ("2. **Next Speaker:** Ygritte", "Ygritte"),
        ("1) Ygritte", "Ygritte"),
        ("- Ygritte", "Ygritte"),
        ('Next Speaker: "Ygritte".', "Ygritte"),
        ("Next Speaker: [Ron]", "Ron"),
        ("Next Speaker: Ron (angrily)", "Ron"),
        ("The next speaker should be Ron", "Ron"),
        ("next speaker is Ron, because Ygritte has asked him", "Ron"),
        ("Next Speaker: Jon Snow", "Jon Snow"),
        ("Next Speaker: jon snow.", "Jon Snow"),
        ("**Next Speaker:**\n\n*Ygritte*.", "Ygritte"),
        ('{"next_speaker": "Jon Snow"}', "Jon Snow"),
        ("Reasoning: Jon Snow spoke, so Ygritte answers.\n\n2. **Next Speaker:** Ygritte", "Ygritte"),
        ("Next Speaker: Ron\nNo, wait.\nNext Speaker: Ygritte", "Ygritte"),
        ("Ygritte: You know nothing.", "Ygritte"),
        ("<think>Jon Snow has just spoken: Ron is silent.</think>Ygritte", "Ygritte"),
        ("<think>Jon Snow has just spoken and Ron", None),
        ("[THINK]Ron: is silent.[/THINK]Ygritte", "Ygritte"),
        ('<seed:think budget="9">Ron: is silent.</seed:think>Ygritte', "Ygritte"),
        ("<|channel|>analysis<|message|>Ron.<|end|><|start|>assistant<|channel|>final<|message|>Ygritte", "Ygritte"),
        ("<analysis>Ron", None),
        ("Ron: could react, but Ygritte should.\n</think>\nYgritte", "Ygritte"),
        ("Next Speaker: Ron? No.\n</ System_Thinking >Next Speaker: Ygritte", "Ygritte"),
        ("Ron <think>or</think> Jon</think>\nYgritte", "Ygritte"),
        ("Next Speaker: A.B. (the Elder)", "A.B. (the Elder)"),
        ("**A.B. (the Elder)**", "A.B. (the Elder)"),
        ("Next Speaker: Environment", "Environment"),
        ("下一位发言者：Ygritte", "Ygritte"),
        ("Next Speaker: <END CHAT>", END_CHAT),
        ("<END CHAT>", END_CHAT),
        ("<end chat>", END_CHAT),
        ("Next Speaker: random", None),
        ("Next Speaker: Jon", None),  # he has just spoken
        ("Next Speaker:", None),
        ("Either Ron or Ygritte.", None),
        ("Ronald", None),
        ("somebody else", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_forms_of_an_answer(reply: str, expected: str | None) -> None:
    assert parse_next_speaker(reply, NAMES, "Jon") == expected


@pytest.mark.parametrize("written", ["Christopher Jr.", "Christopher Jr", "**Christopher Jr.**.", "christopher jr.:"])
def test_a_dot_that_belongs_to_the_name(written: str) -> None:
    assert parse_next_speaker(f"Next Speaker: {written}", ["Christopher Jr.", "Ann"], "Ann") == "Christopher Jr."


def test_chinese_names_stand_among_other_words() -> None:
    assert parse_next_speaker("应该轮到林黛玉说话了", ["林黛玉", "贾宝玉"], "贾宝玉") == "林黛玉"


# What the original returned wrongly (`notes` of the entries), and what is right.
RIGHT: dict[str, tuple[str | None, str]] = {
    "C-NSP-09": (None, "random is no name"),
    "C-NSP-11": ("Ron", "the words around the name are no part of it"),
    "C-NSP-12": ("Ron", "brackets are no part of the name"),
    "C-NSP-13": ("Ron", "a remark in brackets is no part of the name"),
    "H-NSP-03": ("Ygritte", "the label counts, not the first name in the text"),
    "H-NSP-04": ("Jon Snow", "the longer name contains the shorter one"),
    "H-NSP-13": (None, "nobody is named"),
    "H-NSP-15": ("Ygritte", "bold is no part of the name"),
    "H-NSP-16": ("Ygritte", "bold is no part of the name"),
}


def test_what_the_original_returned() -> None:
    if not ENTRIES.exists():
        pytest.skip("../shared is not there")
    entries = [entry for entry in json.loads(ENTRIES.read_text(encoding="utf-8")) if "-NSP-" in entry["id"]]
    assert len(entries) == 13
    for entry in entries:
        expected = RIGHT[entry["id"]][0] if entry["id"] in RIGHT else entry["original_output"]
        assert parse_next_speaker(entry["input"], NAMES, "Environment") == expected, entry["id"]
        assert (expected == entry["original_output"]) == (entry["id"] not in RIGHT)


@pytest.mark.parametrize(
    "unit", ["Next Speaker: ", "<think>", "</think>", "</ ", "Ygritte ", "<END", "next speaker", ":", "（"]
)
def test_hostile_answers_take_linear_time(unit: str) -> None:
    start = time.process_time()
    parse_next_speaker(unit * 50_000, NAMES, "Jon")
    assert time.process_time() - start < 2


def scene() -> Scene:
    cast = [Character(name=name, motivation=f"Wants {name}'s due.") for name in ("Ann", "Bob", "Cy")]
    return Scene(book="B", scenario="A mill.", cast=cast, extra={"major_characters": ["Ann", "Bob"]})


def test_a_draw_is_of_the_majors_and_the_world_and_repeats() -> None:
    names = ["Cy", "Bob", "Ann", "Environment"]
    drawn = {draw_speaker(scene(), names, "Ann", seed=seed) for seed in range(60)}
    assert drawn == {"Bob", "Environment"}
    assert draw_speaker(scene(), names, "Ann", seed=3) == draw_speaker(scene(), names[::-1], "Ann", seed=3)
    assert draw_speaker(scene(), ["Ann", "Cy"], "Ann", seed=1) == "Cy"  # no major left: of all


def test_the_prompt_shows_nobodys_inner_thought() -> None:
    """Neither what a character thinks in a turn nor what it is said to think or know at the start of the scene."""
    kept = {"profile": "KEPT", "background": "KEPT", "motivation": "KEPT", "experience": "KEPT", "description": "KEPT"}
    cast = [Character(name=name, **kept) for name in ("Ann", "Bob")]
    turns = [
        parse_turn(
            "<system_thinking>KEPT</system_thinking>Ann: <role_thinking>KEPT</role_thinking> Tea?", names=["Ann"]
        ),
        parse_turn("Bob: [KEPT] (nods) Please.", notation="coser", names=["Bob"]),
    ]
    played = Scene(book="B", scenario="A mill.", cast=cast, dialogue=turns)
    for may_end in (False, True):
        messages = next_speaker_messages(played, turns, ["Ann", "Bob", "Environment"], may_end=may_end)
        assert "KEPT" not in json.dumps(messages)
    system, user = (message["content"] for message in messages)
    assert "- Ann\n- Bob\n" in system and "A mill." in system
    assert "Ann: Tea?\n\nBob: (nods) Please." in user


def test_the_prompt_names_whom_it_may_name_and_when_it_may_end() -> None:
    turns = [parse_turn("Ann: <role_thinking>He must not know.</role_thinking> <role_action>sits</role_action> Tea?")]
    names = ["Ann", "Bob", "Environment"]
    system, user = next_speaker_messages(scene(), turns, names, may_end=False)
    assert "Name exactly one of: Bob, Environment." in system["content"] and END_CHAT not in system["content"]
    assert "Ann: (sits) Tea?" in user["content"] and "must not know" not in user["content"]
    assert END_CHAT in next_speaker_messages(scene(), turns, names, may_end=True)[0]["content"]
