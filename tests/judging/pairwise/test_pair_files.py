"""Reading pairs: files, preference sets, bad rows in their place, circumstances from the scenes that rows name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from her_hf.judging import BadPair, Pair, PairFile, circumstances_of, read_pairs
from her_hf.judging.pairwise.pair_files import count_from_prompt
from her_hf.scenes import Character, Scene, read_turn
from tests.support.pairs import a_pair, prompt


def row(**overrides: Any) -> dict[str, Any]:
    return {**a_pair().to_row(), **overrides}


def write(file: Path, *rows: Any) -> Path:
    file.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows), encoding="utf-8")
    return file


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
        ('{"prompt": [', "not JSON"),
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


def test_a_pair_file_is_read_when_it_is_iterated_and_must_not_change(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", row(), "nonsense", row(cand_1="Jo: Again."))
    pairs = PairFile(file)
    assert list(pairs) == list(pairs) == read_pairs(file) and len(pairs) == 3
    part = pairs.first(2)
    assert list(part) == list(pairs)[:2] and (len(part), len(pairs.first(9)), len(pairs.first(None))) == (2, 3, 3)
    begun = iter(pairs)
    next(begun)
    write(file, row())
    for late in (begun, iter(pairs)):
        with pytest.raises(ValueError, match=r"pairs\.jsonl was changed while its pairs were read"):
            list(late)
    with pytest.raises(ValueError, match=r"no pair that can be judged.*line 1"):
        PairFile(write(tmp_path / "bad.jsonl", "nonsense"))


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
        assert len(read_pairs(tmp_path)) == count == len(list(PairFile(tmp_path)))


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


# -- circumstances from scenes


SCENE = Scene(
    book="The Lamp",
    i_p=3,
    scenario="A lighthouse.",
    cast=[Character(name="Ann", profile="Keeps the lamp."), Character(name="Bob", profile="A sailor.")],
    dialogue=[read_turn("<role_thinking>SECRET</role_thinking> Is it lit?", "Bob"), read_turn("It is.", "Ann")],
)


def named(**changes: Any) -> dict[str, Any]:
    """A row of a preference set that names its scene."""
    return {
        "prompt": SCENE.messages_for("Ann", turns=1, system_thinking=False),
        "chosen": "Ann: It is.",
        "rejected": "Ann: How may I help?",
        "character": "Ann",
        "scene_key": "The Lamp/3/0",
        "turn": 1,
        **changes,
    }


def test_a_row_gets_its_circumstances_from_the_scene_that_it_names(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", named())
    (bare,), (found,) = read_pairs(file), read_pairs(file, scenes=[SCENE])
    assert isinstance(bare, Pair) and isinstance(found, Pair)
    assert bare.carried is None and count_from_prompt([bare, BadPair("x")]) == 1
    assert found.carried == circumstances_of(SCENE, "Ann", turns=1) and count_from_prompt([found]) == 0
    assert found.key == bare.key


@pytest.mark.parametrize(
    "changes",
    [
        {"turn": None},
        {"turn": 7},
        {"turn": 0},
        {"scene_key": "The Lamp/4/0"},
        {"character": "Meg"},
        {"character": "Bob"},
        {"prompt": [*SCENE.messages_for("Ann", turns=1)[:1], {"role": "user", "content": "Bob: Is it out?"}]},
    ],
)
def test_a_row_that_does_not_fit_its_scene_is_left_to_its_prompt(changes: dict[str, Any], tmp_path: Path) -> None:
    (found,) = read_pairs(write(tmp_path / "pairs.jsonl", named(**changes)), scenes=[SCENE])
    assert isinstance(found, Pair) and found.carried is None


def test_what_a_row_carries_counts_before_its_scene(tmp_path: Path) -> None:
    own = replace(circumstances_of(SCENE, "Ann", turns=1), card="Somebody else.")
    file = write(tmp_path / "pairs.jsonl", named(circumstances=own.to_row()))
    (found,) = read_pairs(file, scenes=[SCENE])
    assert isinstance(found, Pair) and found.carried == own
