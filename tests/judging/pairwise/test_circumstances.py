"""Circumstances: from a scene, through a file, in the views that a judge may see."""

from __future__ import annotations

import json
from typing import Any

import pytest

from her_hf.dual_layer import ENVIRONMENT
from her_hf.judging import Pair, circumstances_of
from her_hf.judging.pairwise.circumstances import Spoken, candidate_body, read_circumstances
from her_hf.judging.pairwise.from_prompt import circumstances_from_prompt
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages, single_messages
from her_hf.scenes import Character, Scene, load_scenes, read_turn
from tests.support.pairs import a_pair
from tests.support.paths import ROOT

ODD = "Mr. B: the <think> (2nd)"


def scene(**changes: Any) -> Scene:
    fields: dict[str, Any] = {
        "book": "The Lamp",
        "scenario": "A lighthouse.\n\n===Requirements===\nnone",
        "cast": [
            Character(name="Ann", profile="Keeps <role_thinking>the lamp.", motivation="UNSEEN"),
            Character(name=ODD, profile="A sailor."),
            Character(name=ENVIRONMENT),
            Character(name="Meg"),
        ],
        "dialogue": [
            read_turn("The sea is loud.", ENVIRONMENT),
            read_turn("<role_thinking>SECRET</role_thinking> Lit? <role_action>nods</role_action>", ODD),
            read_turn("<system_thinking>PLAN</system_thinking>Ann: <role_thinking>Mine.</role_thinking> Yes.", "Ann"),
            read_turn("<role_thinking>SECRET</role_thinking>", "Meg"),
            read_turn("Mind this.\n\nCaptain Rule: keep the oil dry.", ODD),
        ],
    }
    return Scene(**{**fields, **changes})


def test_a_scene_gives_own_turns_in_self_view_and_all_others_in_others_view() -> None:
    found = circumstances_of(scene(), "Ann", turns=5)
    assert found.turns == (
        Spoken(ENVIRONMENT, "The sea is loud."),
        Spoken(ODD, "Lit? <role_action>nods</role_action>"),
        Spoken("Ann", "<role_thinking>Mine.</role_thinking> Yes."),
        Spoken(ODD, "Mind this.\n\nCaptain Rule: keep the oil dry."),
    )
    assert (found.character, found.book) == ("Ann", "The Lamp")
    assert found.card == "Keeps <\u200brole_thinking>the lamp."  # typed tags and headings are text, as in the prompt
    assert found.scenario == "A lighthouse.\n\n=\u200b==Requirements===\nnone"
    assert found.others.endswith("A sailor.\n\nMeg") and "UNSEEN" not in str(found)
    assert circumstances_of(scene(), "Ann", turns=1).turns == found.turns[:1]
    with pytest.raises(ValueError, match="'Eve' is not in the scene"):
        circumstances_of(scene(), "Eve", turns=1)


def test_a_spoken_paragraph_that_looks_like_a_label_stays_with_its_speaker() -> None:
    """What a pair that carries its circumstances keeps, and reading the prompt cannot."""
    read = circumstances_from_prompt(scene().messages_for("Ann", turns=5), "Ann")
    assert "Captain Rule" in [turn.name for turn in read.turns]
    assert "Captain Rule" not in [turn.name for turn in circumstances_of(scene(), "Ann", turns=5).turns]


@pytest.mark.parametrize("character", ["Ann", ODD, "Meg"])
def test_circumstances_survive_a_file(character: str) -> None:
    found = circumstances_of(scene(), character, turns=5)
    assert read_circumstances(json.loads(json.dumps(found.to_row())), character) == found


def test_views_are_applied_to_whatever_a_file_holds() -> None:
    hidden = "<system_thinking>PLAN</system_thinking>"
    turns = [
        {"name": "Meg", "text": f"{hidden}<role_thinking>SECRET</role_thinking> Hi."},
        {"name": "Ann", "text": f"{hidden}<role_thinking>Mine.</role_thinking> Jo: so she said."},
        {"name": "Meg", "text": "<role_thinking>SECRET, and never closed"},
        {"name": "Meg", "text": "a plan that the prompt opened</system_thinking>Well?"},
    ]
    row = {"book": "", "card": "", "scenario": "", "turns": turns}
    assert read_circumstances(row, "Ann").turns == (
        Spoken("Meg", "Hi."),
        Spoken("Ann", "<role_thinking>Mine.</role_thinking> Jo: so she said."),
        Spoken("Meg", "Well?"),
    )


ROW = {"book": "The Lamp", "card": "", "scenario": "", "others": "", "turns": []}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a lighthouse", "circumstances must be an object, got 'a lighthouse'"),
        ({"book": "The Lamp", "turns": []}, r"lacks \['card', 'scenario'\]"),
        ({**ROW, "setting": "x"}, r"does not know \['setting'\]"),
        ({**ROW, "card": None}, "card must be a text, got None"),
        ({**ROW, "turns": "Meg: hi"}, "turns must be a list, got 'Meg: hi'"),
        ({**ROW, "turns": ["Meg: hi"]}, "turn 0 needs a name and a text, got 'Meg: hi'"),
        ({**ROW, "turns": [{"name": "Meg", "text": 1}]}, "turn 0 needs a name and a text"),
    ],
)
def test_a_bad_field_is_named(row: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Pair.from_row({**a_pair().to_row(), "circumstances": row})
    assert len(str(caught.value)) < 300


def test_circumstances_of_another_character_are_refused() -> None:
    carried = circumstances_of(scene(), "Meg", turns=2)
    with pytest.raises(ValueError, match="are those of 'Meg', but 'Jo' replies"):
        a_pair(), Pair(a_pair().prompt, "a", "b", character="Jo", carried=carried)


def test_a_pair_tells_what_it_carries_and_not_what_its_prompt_says() -> None:
    row = {**a_pair().to_row(), "circumstances": {**ROW, "card": "CARD", "turns": [{"name": "Meg", "text": "TURN"}]}}
    pair = Pair.from_row(json.loads(json.dumps(row)))
    assert pair.carried is not None and pair.to_row() == row and "circumstances" not in pair.extra
    for messages in (pair_messages(pair), single_messages(pair, "cand_1"), compact_messages(pair)):
        text = messages[-1]["content"]
        assert "CARD" in text and "Meg: TURN" in text and "Fifteen" not in text and "Where are my gloves" not in text
    assert pair.swapped().carried == pair.carried
    assert pair.key == a_pair().key and pair.shown_key != a_pair().shown_key


def test_a_card_in_chat_form_that_no_section_names_is_shown_whole() -> None:
    whole = "A free prompt: be Jo."
    prompt = [{"role": "system", "content": whole}, {"role": "user", "content": "Meg: Hi."}]
    assert circumstances_from_prompt(prompt, "Jo").prompt == whole
    assert circumstances_of(scene(), "Ann", turns=1).prompt == ""


def test_a_scene_and_its_prompt_tell_the_same() -> None:
    """In both languages, for each turn of our own data: figures do not depend on where circumstances come from."""
    seen = set()
    for one in load_scenes(ROOT / "dataset_cards" / "her-mini", split="validation"):
        for index, turn in enumerate(one.dialogue):
            name = str(turn.name)
            prompt = one.messages_for(name, turns=index, system_thinking=False)
            assert circumstances_of(one, name, turns=index) == circumstances_from_prompt(prompt, name)
            seen.add(one.language)
    assert seen == {"en", "zh"}


def test_a_plan_whose_beginning_the_prompt_held_stays_hidden() -> None:
    assert candidate_body("SECRET plan</system_thinking>\nJo: hey", "Jo") == "hey"
    assert candidate_body("<think>SECRET</think>Jo: hey", "Jo") == "hey"
