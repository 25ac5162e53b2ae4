"""her-mini: the data keeps its rules, the validator sees when it does not, and everybody reads the same turns."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytest.importorskip("datasketch", reason='her-mini\'s validator needs pip install "her_hf[data]"')

from her_hf.dual_layer import Turn, parse_turn, system_block
from her_hf.runs.report.headline import TITLES
from tests.support.paths import ROOT

FOLDER = ROOT / "dataset_cards" / "her-mini"
SPLITS = ("train", "validation", "test")
Rows = dict[str, list[dict[str, Any]]]


def read_rows() -> Rows:
    return {
        split: [json.loads(line) for line in (FOLDER / "data" / f"{split}.jsonl").read_text("utf-8").splitlines()]
        for split in SPLITS
    }


def full_turn(row: dict[str, Any], dialogue: dict[str, Any]) -> Turn:
    text = f"{system_block(dialogue['sys_thinking_revised'])}\n{dialogue['character']}: {dialogue['standard_format']}"
    return parse_turn(text, names=[character["name"] for character in row["key_characters"]])


@pytest.fixture(scope="module")
def validator() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("validate")
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name == "validate" or name.split(".")[0] == "checks"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def checked(validator: ModuleType) -> tuple[dict[str, Any], list[Any]]:
    result: tuple[dict[str, Any], list[Any]] = validator.validate(FOLDER / "data")
    return result


@pytest.fixture(scope="module")
def few() -> Rows:
    """An English and a Chinese scene of each split."""
    return {
        split: [next(row for row in rows if row["language"] == language) for language in ("en", "zh")]
        for split, rows in read_rows().items()
    }


def test_the_data_is_valid(checked: tuple[dict[str, Any], list[Any]]) -> None:
    figures, problems = checked
    assert [str(problem) for problem in problems] == []
    assert figures["scenes"] >= 48 and figures["turns"] >= 380 and figures["books"] >= 12
    assert figures["patterns"]["distinct"] >= 40 and figures["patterns"]["top_share"] <= 0.15
    assert sum(split["en"] for split in figures["splits"].values()) >= 36
    assert sum(split["zh"] for split in figures["splits"].values()) >= 12


def test_the_card_tells_the_truth(validator: ModuleType, checked: tuple[dict[str, Any], list[Any]]) -> None:
    card_tools = importlib.import_module("checks.card")
    card = (FOLDER / "README.md").read_text("utf-8")
    assert card_tools.written_section(card) == card_tools.table(checked[0]), "run validate.py --write-card"
    rows = [row for own in read_rows().values() for row in own]
    examples = {full_turn(row, dialogue).render() for row in rows for dialogue in row["dialogues"]}
    assert card.partition("```text\n")[2].partition("\n```")[0] in examples
    for row_fields in (validator.ROW_KEYS, validator.DIALOGUE_KEYS, validator.SETTING_KEYS):
        assert all(f"{field}`" in card for field in row_fields)
    from PIL import Image

    with Image.open(FOLDER / card_tools.FIGURE) as figure:
        assert card_tools.digest(rows) in figure.info["Description"], "run validate.py --write-card"


def test_write_card_fills_only_the_section(validator: ModuleType, tmp_path: Path, checked: Any) -> None:
    card_tools = importlib.import_module("checks.card")
    card = (FOLDER / "README.md").read_text("utf-8")
    section = card_tools.written_section(card)
    (tmp_path / "README.md").write_text(card.replace(section, "old"), "utf-8")
    card_tools.write_card(tmp_path / "README.md", checked[0])
    assert (tmp_path / "README.md").read_text("utf-8") == card
    (tmp_path / "README.md").write_text("no marks", "utf-8")
    with pytest.raises(ValueError, match="once each"):
        card_tools.write_card(tmp_path / "README.md", checked[0])


def dialogue(rows: Rows, turn: int, split: str = "train", row: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = rows[split][row]["dialogues"][turn]
    return found


def plan(text: str, split: str = "train", row: int = 0) -> Callable[[Rows], None]:
    return lambda rows: dialogue(rows, 1, split, row).update(sys_thinking_revised=text)


def reply(text: str) -> Callable[[Rows], None]:
    """Another reply, with the fields that follow from it."""

    def change(rows: Rows) -> None:
        turn = parse_turn(text, names=[one["name"] for one in rows["train"][0]["key_characters"]])
        dialogue(rows, 1).update(
            standard_format=text, message=turn.render("coser", "self"), without_think=turn.render("her", "others")
        )

    return change


def think_only(rows: Rows) -> None:
    reply("<role_thinking>I wait.</role_thinking>")(rows)
    dialogue(rows, 1).update(without_think="Waits.")


def tell_a_secret(rows: Rows) -> None:
    rows["train"][0]["key_characters"][2]["motivation"] = "Mrs Tapley dreads the zeppelin."
    rows["train"][0]["character_datasets"][2]["motivation"] = "Mrs Tapley dreads the zeppelin."
    reply("You need not fear a zeppelin, madam.")(rows)


def tell_a_chinese_secret(rows: Rows) -> None:
    thought = "<role_thinking>我怕那口铜钟半夜响。</role_thinking>"
    for turn, text in ((0, thought + " 早。"), (1, "你怕那口铜钟半夜响罢。")):
        parsed = parse_turn(text)
        dialogue(rows, turn, row=1).update(
            standard_format=parsed.render(),
            message=parsed.render("coser", "self"),
            without_think=parsed.render(view="others"),
        )


def repeat_a_turn(rows: Rows) -> None:
    for field in ("sys_thinking_revised", "standard_format", "message", "without_think"):
        dialogue(rows, 2)[field] = dialogue(rows, 0, "test")[field]


def move_a_book(rows: Rows) -> None:
    row = copy.deepcopy(rows["train"][0])
    row["i_p"] = 1900
    row["trace_id"] = f"{row['book_name']}/1900/{row['i_c']}"
    rows["test"].append(row)


GOOD_PLAN = "Mr Darcy " + " ".join(f"ponders{n}" for n in range(40))

CORRUPTIONS: dict[str, tuple[Callable[[Rows], object], str]] = {
    "field missing": (lambda rows: dialogue(rows, 1).pop("message"), "train.jsonl:1: dialogues[1].fields must be"),
    "field order": (
        lambda rows: rows["test"][0].update(topic=rows["test"][0].pop("topic")),
        "test.jsonl:1: fields must",
    ),
    "field type": (lambda rows: rows["test"][0].update(i_p="1"), "test.jsonl:1: i_p must be an integer"),
    "empty text": (lambda rows: rows["test"][0].update(scenario=""), "test.jsonl:1: scenario must be text"),
    "empty list": (lambda rows: rows["test"][0].update(dialogues=[]), "test.jsonl:1: dialogues must be a list"),
    "no motivation": (
        lambda rows: rows["test"][0]["key_characters"][0].update(motivation=None),
        "test.jsonl:1: key_characters[0].motivation must be text",
    ),
    "origin": (lambda rows: dialogue(rows, 1).update(origin_id=[7]), "train.jsonl:1: dialogues[1].origin_id"),
    "key": (lambda rows: rows["test"][0].update(trace_id="x"), "test.jsonl:1: trace_id must be"),
    "plot number": (lambda rows: rows["test"][0].update(i_p=3), "test.jsonl:1: i_p must count from 1001"),
    "language": (lambda rows: rows["test"][0].update(language="fr"), "test.jsonl:1: language must be one of"),
    "other language": (
        lambda rows: rows["test"][0].update(language="zh"),
        "test.jsonl:1: the scenario is not written",
    ),
    "too few turns": (
        lambda rows: rows["train"][0]["dialogues"].__delitem__(slice(5, None)),
        "train.jsonl:1: needs 6 to 12",
    ),
    "silent cast": (
        lambda rows: rows["train"][0]["key_characters"].append({"name": "Ghost", "motivation": "Waits."}),
        "train.jsonl:1: the cast",
    ),
    "settings": (
        lambda rows: rows["train"][0]["character_datasets"][0].update(motivation="Sleeps."),
        "train.jsonl:1: character_datasets of Elizabeth Bennet: motivation must be",
    ),
    "twice in a row": (
        lambda rows: dialogue(rows, 1).update(character="Mrs Tapley"),
        "train.jsonl:1: the same character",
    ),
    "foreign speaker": (reply("Yes.\nMrs Tapley: No."), "train.jsonl:1:1: not well formed: ['foreign_speaker']"),
    "unclosed": (reply("Yes. <role_action>nods"), "train.jsonl:1:1: not well formed: ['unclosed']"),
    "unknown tag": (reply("Yes, <b>sir</b>."), "train.jsonl:1:1: not well formed: ['unknown_tag']"),
    "thought only": (think_only, "train.jsonl:1:1: not well formed: no visible layer"),
    "not canonical": (reply("<Role_Action>nods</role_action> Yes."), "train.jsonl:1:1: rendering does not give"),
    "label": (reply("Hear me: Sir John: a toast."), ""),
    "name in text": (reply("Lord Bute: a toast to you all."), "train.jsonl:1:1: standard_format reads differently"),
    "brackets": (reply("Yes (if I must)."), "train.jsonl:1:1: brackets"),
    "message": (lambda rows: dialogue(rows, 1).update(message="Yes."), "train.jsonl:1:1: message must be"),
    "others see": (
        lambda rows: dialogue(rows, 1).update(without_think="Yes."),
        "train.jsonl:1:1: without_think must be",
    ),
    "same pattern": (
        reply("Yes. <role_action>nods</role_action> Yes."),
        "train.jsonl:1:1: the same pattern as the turn before: SAS",
    ),
    "short plan": (plan("Mr Darcy waits."), "train.jsonl:1:1: system thinking must be 30 to 90 words, got 3"),
    "long plan": (
        plan(GOOD_PLAN + " or waits" * 40),
        "train.jsonl:1:1: system thinking must be 30 to 90 words, got 122",
    ),
    "many marks": (plan("林黛玉" + "演" * 60 + " …" * 151, row=1), ""),
    "user": (plan(GOOD_PLAN + " the user"), "train.jsonl:1:1: system thinking speaks of a user"),
    "Chinese user": (plan("用户" + "演" * 60, row=1), "train.jsonl:2:1: system thinking speaks of a user"),
    "plan in first person": (plan(GOOD_PLAN + " as I play"), "train.jsonl:1:1: system thinking must be third person"),
    "quoted I": (plan(GOOD_PLAN + ' and "I" is his'), ""),
    "Chinese plan in first person": (
        plan("我要" + "演" * 60, row=1),
        "train.jsonl:2:1: system thinking must be third",
    ),
    "plan of nobody": (
        plan("Somebody " + "ponders " * 40 + "on"),
        "train.jsonl:1:1: system thinking must name Mr Darcy",
    ),
    "thought in third person": (
        reply("<role_thinking>He is ten feet away.</role_thinking> Yes."),
        "train.jsonl:1:1: role thinking must be first person",
    ),
    "action in first person": (
        reply("<role_action>bows my head</role_action> Yes."),
        "train.jsonl:1:1: an action must be third person",
    ),
    "secret": (tell_a_secret, "train.jsonl:1:1: knows 'zeppelin', so far only in a thought or motive of Mrs Tapley"),
    "Chinese secret": (tell_a_chinese_secret, "train.jsonl:2:1: knows '那口铜钟'"),
    "near-duplicate": (repeat_a_turn, "nearly repeats"),
    "key twice": (lambda rows: rows["train"].append(rows["train"][0]), "stands 2 times"),
    "book in two splits": (move_a_book, "test.jsonl:3: the book 'Pride and Prejudice' is in another split too"),
    "split without Chinese": (lambda rows: rows["test"].__delitem__(1), "test.jsonl: has no scene in 'zh'"),
    "split missing": (lambda rows: rows.pop("test"), "test.jsonl: missing in"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_validator_sees(name: str, validator: ModuleType, few: Rows, tmp_path: Path) -> None:
    corrupt, expected = CORRUPTIONS[name]
    rows = copy.deepcopy(few)
    corrupt(rows)
    for split, own in rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in own)
        (tmp_path / f"{split}.jsonl").write_text(lines, "utf-8")
    problems = [str(problem) for problem in validator.validate(tmp_path)[1]]
    if expected:
        assert any(expected in one for one in problems), problems
    else:  # six scenes are too few, and in so few any word is rare: that is seen without any corruption
        allowed = ("data:", "train.jsonl: needs")
        assert [one for one in problems if not one.startswith(allowed) and ": knows '" not in one] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"turns": 379}, "needs at least 380 turns, got 379"),
        ({"books": 11}, "needs at least 12 books, got 11"),
        ({"patterns": {"distinct": 39, "top": "S", "top_share": 0.1}}, "needs at least 40 different patterns"),
        ({"patterns": {"distinct": 60, "top": "S", "top_share": 0.16}}, "pattern S is 16.0% of turns, over 15%"),
        ({"languages": {"en": {"self_bleu_4": {"reply": 0.4}}}}, "Self-BLEU-4 of reply in 'en' is 0.4, over 0.1"),
        ({"turns": 999}, "needs at least 60% of the turns, got 31.2%"),
    ],
)
def test_the_validator_counts(
    change: dict[str, Any], expected: str, validator: ModuleType, checked: tuple[dict[str, Any], list[Any]]
) -> None:
    rows, _ = validator.read(FOLDER / "data")
    problems = [str(problem) for problem in validator.wrong_whole(rows, checked[0] | change)]
    assert len(problems) == 1 and expected in problems[0]


def test_command_line(tmp_path: Path) -> None:
    script = str(FOLDER / "validate.py")
    good = subprocess.run([sys.executable, script, "--json"], capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["problems"] == []
    (tmp_path / "train.jsonl").write_text("{no json\n", "utf-8")
    bad = subprocess.run(
        [sys.executable, script, "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 1
    assert "train.jsonl:1: not JSON" in bad.stderr and "validation.jsonl: missing" in bad.stderr


def test_load_dataset_opens_the_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(FOLDER), cache_dir=str(tmp_path))
    rows = read_rows()
    assert set(loaded) == set(SPLITS)
    for split in SPLITS:
        assert loaded[split].to_list() == rows[split]  # no field was lost, none appeared as a null
    assert loaded["train"].features == loaded["test"].features


@pytest.mark.parametrize("split", [*SPLITS, None])
def test_load_scenes_gives_equal_turns(split: str | None) -> None:
    from her_hf.scenes import load_scenes

    rows = [row for name, own in read_rows().items() if split in (name, None) for row in own]
    scenes = {scene.key: scene for scene in load_scenes(FOLDER, split=split)}
    assert len(scenes) == len(rows)
    for row in rows:
        scene = scenes[row["book_name"], row["i_p"], row["i_c"]]
        assert scene.dialogue == [full_turn(row, dialogue) for dialogue in row["dialogues"]]
        assert [list(turn.origin_id) for turn in scene.dialogue] == [one["origin_id"] for one in row["dialogues"]]
        assert (scene.scenario, scene.language) == (row["scenario"], row["language"])
        cast = {character.name: character for character in scene.cast}
        for setting in row["character_datasets"]:
            assert cast[setting["character"]].profile == setting["character_profile"]
            assert cast[setting["character"]].motivation == setting["motivation"]


def test_the_benchmark_names_a_split_of_the_card_and_our_evaluations() -> None:
    found = yaml.safe_load((FOLDER / "eval.yaml").read_text("utf-8"))
    (config,) = yaml.safe_load((FOLDER / "README.md").read_text("utf-8").split("---")[1])["configs"]
    splits = {one["split"] for one in config["data_files"]}
    assert {"name", "description", "evaluation_framework", "tasks"} == found.keys()
    assert [task["id"] for task in found["tasks"]] == ["coser", "form"] and set(TITLES) >= {"coser", "form"}
    assert all(task["config"] == config["config_name"] and task["split"] in splits for task in found["tasks"])
