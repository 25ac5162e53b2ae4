"""Pairs: reading files and preference sets, what a judge may see, the two orders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from her_hf.judging import BadPair, Pair, read_pairs
from her_hf.judging.pairwise.circumstances import Spoken, candidate_body
from her_hf.judging.pairwise.pairs import swap_names
from tests.support.pairs import a_pair, prompt


def row(**overrides: Any) -> dict[str, Any]:
    return {**a_pair().to_row(), **overrides}


def write(file: Path, *rows: Any) -> Path:
    file.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows), encoding="utf-8")
    return file


def test_a_pair_survives_its_file(tmp_path: Path) -> None:
    (found,) = read_pairs(write(tmp_path / "pairs.jsonl", row()))
    assert found == a_pair()
    assert isinstance(found, Pair) and found.extra == {"kind": "assistant_voice"} and found.character == "Jo"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(cand_1="  "), "cand_1 is empty"),
        (row(cand_1="<system_thinking>a plan</system_thinking>"), "cand_1 is empty"),
        (row(cand_2="Jo:"), "cand_2 is empty"),
        (row(cand_2="<system_thinking>p</system_thinking>" + a_pair().cand_1), "the same text"),
        (row(principles=3), "principles must be a list"),
        (row(principles=["Subtext"]), "principles: each needs"),
        (row(principles=[{"name": "Subtext", "winner": ["cand_1"]}]), "principles: each needs"),
        (row(cand_2=a_pair().cand_1), "the same text"),
        (row(cand_2=a_pair().cand_1.replace(" ", "  ")), "the same text"),
        (row(prompt=[]), "the context is missing"),
        (row(prompt=[{"role": "user", "content": "===Conversation Start==="}]), "the context is missing"),
        (row(prompt=prompt("Meg: hi")[:1]), "the context is missing"),
        (row(prompt="hi"), "prompt must be a list of messages"),
        (row(prompt=["hi"]), "message 0: needs a role"),
        (row(label="both"), "label must be one of"),
        ({"prompt": prompt("Meg: hi"), "cand_1": "x"}, r"lacks \['cand_2'\]"),
        (row(cand_2=7), "cand_2 must be a text"),
        (row(principles=[{"name": "Subtext", "winner": "left"}]), "principles: each needs a name and a winner"),
        ("[1, 2]", "must be a JSON object"),
        ('{"prompt": [', "no JSON"),
    ],
)
def test_a_bad_row_keeps_its_place_and_says_what_is_wrong(bad: Any, words: str, tmp_path: Path) -> None:
    import re

    found = read_pairs(write(tmp_path / "pairs.jsonl", row(), bad, row()))
    assert [type(one) for one in found] == [Pair, BadPair, Pair]
    assert isinstance(found[1], BadPair) and "pairs.jsonl, line 2: " in found[1].what
    assert re.search(words, found[1].what)


def test_a_file_without_one_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no pair that can be judged.*line 1"):
        read_pairs(write(tmp_path / "pairs.jsonl", "nonsense"))
    with pytest.raises(FileNotFoundError, match=r"no\.jsonl"):
        read_pairs(tmp_path / "no.jsonl")


def preference(number: int) -> dict[str, Any]:
    return {
        "prompt": prompt("Meg: Gloves?"),
        "chosen": [{"role": "assistant", "content": f"Jo: Hanged, {number}."}],
        "rejected": [{"role": "assistant", "content": f"Jo: Help, {number}?"}],
        "principles": [{"name": "Assistant Voice", "winner": "chosen", "reason": "x"}],
        "evidence": "{rejected} offers help, {chosen} does not",
    }


def test_a_folder_is_read_as_it_is_now(tmp_path: Path) -> None:
    for count in (3, 5):
        write(tmp_path / "test.jsonl", *[preference(number) for number in range(count)])
        assert len(read_pairs(tmp_path)) == count


def test_a_preference_row_becomes_a_pair_whose_order_depends_on_itself(tmp_path: Path) -> None:
    rows = [preference(number) for number in range(40)]
    found = [one for one in read_pairs(write(tmp_path / "rows.jsonl", *rows)) if isinstance(one, Pair)]
    again = [one for one in read_pairs(write(tmp_path / "turned.jsonl", *rows[::-1])) if isinstance(one, Pair)]
    assert found == again[::-1]
    assert 10 <= sum(one.label == "cand_1" for one in found) <= 30
    for one in found:
        better, worse = (one.cand_1, one.cand_2) if one.label == "cand_1" else (one.cand_2, one.cand_1)
        assert "Hanged" in better and "Help" in worse
        assert one.principles[0].winner == one.label
        assert one.evidence.startswith("cand_2 offers" if one.label == "cand_1" else "cand_1 offers")
    other = [one.label for one in read_pairs(tmp_path / "rows.jsonl", seed=7) if isinstance(one, Pair)]
    assert other != [one.label for one in found]


def test_the_other_order_turns_everything() -> None:
    turned = a_pair().swapped()
    assert (turned.cand_1, turned.label) == (a_pair().cand_2, "cand_2")
    assert [one.winner for one in turned.principles] == ["cand_2", "cand_2", "tie"]
    assert turned.evidence == 'cand_1 offers help: "How may I help"'
    assert turned.swapped() == a_pair() and turned.key != a_pair().key
    assert a_pair(label="tie").swapped().label == "tie"
    assert swap_names("cand_1 beats cand_2") == "cand_2 beats cand_1"


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


def test_a_plan_whose_beginning_the_prompt_held_stays_hidden() -> None:
    assert candidate_body("SECRET plan</system_thinking>\nJo: hey", "Jo") == "hey"
    assert candidate_body("<think>SECRET</think>Jo: hey", "Jo") == "hey"


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
