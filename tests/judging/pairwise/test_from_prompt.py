"""The fallback: circumstances read out of a rendered prompt."""

from __future__ import annotations

import pytest

from her_hf.judging import Pair
from her_hf.judging.pairwise.circumstances import Spoken, candidate_body
from tests.support.pairs import a_pair, prompt


def test_a_judge_sees_own_thoughts_and_nobody_elses() -> None:
    pair = a_pair(
        prompt=prompt(
            "Meg: <role_thinking>SECRET</role_thinking> Where? <role_action>looks</role_action>\n\nHannah: Lor!",
            "<system_thinking>PLAN</system_thinking>Jo: <role_thinking>Mine.</role_thinking> Here.",
            "Meg: <system_thinking>PLOT</system_thinking>Well?",
        ),
        cand_1="<system_thinking>PLAN</system_thinking>\nJo: Gone. <role_thinking>Mine too.</role_thinking>",
    )
    seen = pair.circumstances
    assert seen.turns == (
        Spoken("Meg", "Where? <role_action>looks</role_action>"),
        Spoken("Hannah", "Lor!"),
        Spoken("Jo", "<role_thinking>Mine.</role_thinking> Here."),
        Spoken("Meg", "Well?"),
    )
    assert (seen.book, seen.character) == ("Little Women", "Jo")
    assert seen.card == "Fifteen, tall and thin, quick of tongue." and seen.scenario == "Hannah has a bad tooth."
    assert candidate_body(pair.cand_1, "Jo") == "Gone. <role_thinking>Mine too.</role_thinking>"
    assert candidate_body(pair.cand_1, "Jo", "coser") == "Gone. [Mine too.]"


@pytest.mark.parametrize(
    ("heard", "turns"),
    [
        ("Bob: <role_thinking>SECRET\n\nSECRET</role_thinking>Hello", (Spoken("Bob", "Hello"),)),
        ("<system_thinking>SECRET\n\nSECRET</system_thinking>Bob: hi", (Spoken("Bob", "hi"),)),
        (
            "Bob: hi\n\nMeg: <role_thinking>SECRET\n\nSECRET\n\nAnn: never closed",
            (Spoken("Bob", "hi"),),
        ),
    ],
)
def test_a_thought_of_several_paragraphs_stays_hidden(heard: str, turns: tuple[Spoken, ...]) -> None:
    assert a_pair(prompt=prompt(heard)).circumstances.turns == turns


def test_a_prompt_of_another_form_is_shown_as_it_is() -> None:
    pair = Pair.from_row(
        {"prompt": [{"role": "user", "content": "Hello there"}], "cand_1": "Hi.", "cand_2": "Go.", "character": "Bo"}
    )
    seen = pair.circumstances
    assert seen.turns == (Spoken("", "Hello there"),) and seen.card == "" and pair.label is None


def test_chinese_prompts_are_read() -> None:
    system = "你是《红楼梦》中的黛玉。\n\n===黛玉's Profile===\n多愁善感。"
    pair = Pair.from_row(
        {
            "prompt": [{"role": "system", "content": system}, {"role": "user", "content": "宝玉: 妹妹好？"}],
            "cand_1": "黛玉: 好。",
            "cand_2": "黛玉: 不好。",
        }
    )
    seen = pair.circumstances
    assert (pair.character, seen.book, seen.card) == ("黛玉", "红楼梦", "多愁善感。")
    assert seen.turns == (Spoken("宝玉", "妹妹好？"),)
