"""her-mini-preferences: it keeps its own rules, and the check catches each that is broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from datasets import load_dataset

from her_hf.judging import Pair, Verdict, parse_verdict, read_pairs
from her_hf.judging.pairwise.answers import compact_answer
from her_hf.judging.pairwise.pair_files import count_from_prompt
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.scenes import load_scenes
from tests.support.paths import ROOT

FOLDER = ROOT / "dataset_cards" / "her-mini-preferences"


@pytest.fixture(scope="module")
def validate() -> Iterator[ModuleType]:
    """The script's module; its neighbours are importable while it is used."""
    sys.path.insert(0, str(FOLDER))
    known = {name: sys.modules.pop(name, None) for name in ("validate", "kinds", "balance", "build")}
    import validate as module

    yield module
    sys.path.remove(str(FOLDER))
    for name, value in known.items():
        sys.modules.pop(name, None)
        if value is not None:
            sys.modules[name] = value


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict[str, Any]]]:
    return {
        split: [json.loads(line) for line in (FOLDER / "data" / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation", "test")
    }


def test_the_data_keep_their_rules_and_the_card_their_figures(validate: ModuleType) -> None:
    figures, problems = validate.validate(FOLDER / "data")
    assert problems == []
    assert figures["pairs"] >= 600 and abs(figures["predictability"]["accuracy"] - 0.5) <= 0.05
    card = (FOLDER / "README.md").read_text()
    assert card.partition(validate.BEGIN)[2].partition(validate.END)[0].strip() == validate.table(figures)


def test_the_files_are_what_the_sources_give(validate: ModuleType, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "build.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    for split in ("train", "validation", "test"):
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (FOLDER / "data" / f"{split}.jsonl").read_bytes()


def test_datasets_and_trl_take_it(tmp_path: Path) -> None:
    from trl.data_utils import is_conversational, maybe_extract_prompt

    found = load_dataset(str(FOLDER), cache_dir=str(tmp_path))
    assert set(found) == {"train", "validation", "test"}
    row = found["train"][0]
    assert is_conversational(row) and maybe_extract_prompt(row)["chosen"] == row["chosen"]
    assert {"kind", "source", "principles", "scene_key", "character"} <= set(found["train"].column_names)


def test_every_pair_can_be_judged_and_taught() -> None:
    found = read_pairs(FOLDER, split="test")
    assert len(found) > 100
    for pair in found:
        assert isinstance(pair, Pair) and pair.character
        answer = parse_verdict(compact_answer(pair))
        assert isinstance(answer, Verdict) and not answer.repaired and answer.verdict == pair.label
        assert len(answer.principles) == 3 and "{" not in pair.evidence.partition(":")[0]


def test_her_mini_gives_the_circumstances_that_the_prompts_tell() -> None:
    """By scene key, for every pair; what a judge is asked stays the same byte for byte."""
    scenes = load_scenes(FOLDER.parent / "her-mini")
    for split in ("train", "validation", "test"):
        bare, whole = read_pairs(FOLDER, split=split), read_pairs(FOLDER, split=split, scenes=scenes)
        assert count_from_prompt(bare) == len(bare) and count_from_prompt(whole) == 0
        for one, other in zip(bare, whole, strict=True):
            assert isinstance(one, Pair) and isinstance(other, Pair) and one.shown_key == other.shown_key
            for ask in (pair_messages, compact_messages):
                assert ask(one) == ask(other) and ask(one.swapped()) == ask(other.swapped())


def _other_turn(row: dict[str, Any]) -> None:
    row["chosen"][0]["content"] += " Indeed."


def _other_layers(row: dict[str, Any]) -> None:
    row["rejected"][0]["content"] += " <role_action>sits down</role_action> <role_thinking>I sit.</role_thinking>"


def _planned(row: dict[str, Any]) -> None:
    row["rejected"][0]["content"] = "<system_thinking>x</system_thinking>" + row["rejected"][0]["content"]


def _same(row: dict[str, Any]) -> None:
    row["rejected"] = row["chosen"]


def _odd_kind(row: dict[str, Any]) -> None:
    row["kind"] = "boredom"


def _held_back(row: dict[str, Any]) -> None:
    row["kind"] = "lecture"


def _few(row: dict[str, Any]) -> None:
    row["principles"] = row["principles"][:2]


def _lost(row: dict[str, Any]) -> None:
    row["principles"][0]["winner"] = "rejected"


def _misquoted(row: dict[str, Any]) -> None:
    row["evidence"] = '{rejected} lies: "words that nobody said"'


def _elsewhere(row: dict[str, Any]) -> None:
    row["scene_key"] = "Emma/1/0"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_turn, "chosen is not the turn"),
        (_other_layers, "form would tell them apart"),
        (_planned, "not well formed"),
        (_same, "both sides are the same"),
        (_odd_kind, "kind must be one of"),
        (_held_back, "held back for the test split"),
        (_few, "at least 3 principles"),
        (_lost, "the first principle must be"),
        (_misquoted, "evidence must quote"),
        (_elsewhere, "no scene of her-mini"),
    ],
)
def test_a_broken_rule_is_found(
    validate: ModuleType, rows: dict[str, Any], tmp_path: Path, spoil: Callable[[dict[str, Any]], None], words: str
) -> None:
    shutil.copytree(FOLDER / "data", tmp_path / "data")
    changed = json.loads(json.dumps(rows["train"]))
    spoil(changed[3])
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in changed)
    (tmp_path / "data" / "train.jsonl").write_text(text)
    _, problems = validate.validate(tmp_path / "data")
    assert any(problem.startswith("train.jsonl:4: ") and words in problem for problem in problems), problems[:3]


def test_a_label_that_length_gives_away_is_found(validate: ModuleType, rows: dict[str, Any], tmp_path: Path) -> None:
    for split, found in rows.items():
        for row in found:
            row = json.loads(json.dumps(row))
            text = row["rejected"][0]["content"]
            end = text.rfind("</")
            row["rejected"][0]["content"] = text if end < 0 else text[:end] + " and so on and so on" + text[end:]
            with (tmp_path / f"{split}.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")
    _, problems = validate.validate(tmp_path)
    assert any("predict the label" in problem for problem in problems)
