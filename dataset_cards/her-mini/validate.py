"""Checks her-mini against its own rules and prints what was measured.

    python dataset_cards/her-mini/validate.py [--json] [--data FOLDER] [--write-card]

If a rule is broken: exit code 1 and a list `file:row:turn: what is wrong` (row counts from 1 as lines do, turn from 0
as `dialogues` does). `--write-card` writes the measured statistics into README.md and draws the figure. Needs
`pip install "her_hf[data]"`, and matplotlib for `--write-card`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from checks.card import FIGURE, draw_patterns, table, write_card
from checks.duplicates import near_duplicates
from checks.leaks import leaks
from checks.measure import length_of, statistics

from her_hf.dual_layer import ENVIRONMENT, Layer, parse_turn, system_block

FOLDER = Path(__file__).parent
SPLITS = ("train", "validation", "test")
LANGUAGES = ("en", "zh")

MIN_SCENES = {"en": 36, "zh": 12}
MIN_ALL_SCENES, MIN_BOOKS, MIN_TURNS, MIN_PATTERNS = 48, 12, 380, 40
MAX_TOP_PATTERN = 0.15
MIN_TRAIN_TURNS = 0.6
CAST_SIZE, SCENE_TURNS = (2, 4), (6, 12)
SYSTEM_LENGTH = {"en": (30, 90), "zh": (50, 150)}  # words split at white space; letters and digits without punctuation
MAX_SELF_BLEU = 0.1  # of system thinking and of replies, each language by itself
MAX_SIMILARITY = 0.3  # Jaccard of shingles; MinHash finds a pair this alike with 99.8%
FIRST_PLOT = 1001  # the books' own plots in CoSER and HER count from 0: no scene key can be the same

ROW_KEYS: tuple[str, ...] = ("trace_id", "book_name", "i_p", "i_c", "chapter", "language", "scenario", "topic")
ROW_KEYS += ("key_characters", "dialogues", "character_datasets")
CHARACTER_KEYS = ("name", "motivation")
DIALOGUE_KEYS = ("character", "message", "origin_id", "standard_format", "without_think", "sys_thinking_revised")
SETTING_KEYS: tuple[str, ...] = (
    "character",
    "book_name",
    "character_profile",
    "background",
    "scenario",
    "topic",
    "motivation",
)
SETTING_KEYS += ("experience", "description")
MAY_BE_EMPTY = {"background", "experience", "description"}

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|「[^」]*」|『[^』]*』")
_FIRST_PERSON = {
    "en": re.compile(r"\b(?:I|[Mm]e|[Mm]y|[Mm]ine|[Mm]yself|[Ww]e|[Uu]s|[Oo]urs?|[Oo]urselves)\b"),
    "zh": re.compile(r"[我咱俺吾]"),
}
_OWN_NAMES = re.compile(r"老孙|老猪|贫僧")  # what these speakers call themselves instead of I
_TITLES = {"Mr", "Mrs", "Miss", "Dr", "The"}
_USER = re.compile(r"\busers?\b|用户", re.IGNORECASE)
_CJK = re.compile(r"[\u3400-\u9fff]")
_BRACKETS = re.compile(r"[()\[\]（）【】<>*]")


@dataclass(frozen=True)
class Row:
    """One line of a file of the data set."""

    file: str
    number: int
    scene: Mapping[str, Any]

    def at(self, turn: int | None = None) -> str:
        return f"{self.file}:{self.number}" + ("" if turn is None else f":{turn}")


@dataclass(frozen=True)
class Problem:
    """A broken rule and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def read(folder: Path) -> tuple[list[Row], list[Problem]]:
    """Reads `train.jsonl`, `validation.jsonl` and `test.jsonl`; a line that is no scene is a problem, not a row."""
    rows, problems = [], []
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        if not path.is_file():
            problems.append(Problem(path.name, f"missing in {folder}"))
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                scene = json.loads(line)
            except json.JSONDecodeError as error:
                problems.append(Problem(f"{path.name}:{number}", f"not JSON: {error}"))
                continue
            row = Row(path.name, number, scene)
            broken = [Problem(row.at(), what) for what in wrong_fields(scene)]
            problems += broken
            if not broken:
                rows.append(row)
    return rows, problems


def validate(folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Measures the data set and lists every broken rule.

    Args:
        folder (`Path`): Where the three JSONL files are.

    Returns:
        `tuple[dict, list[Problem]]`: The statistics (empty if no row could be read) and the problems.
    """
    rows, problems = read(folder)
    if not rows:
        return {}, [*problems, Problem(str(folder), "no scene could be read")]
    for row in rows:
        problems += [Problem(row.at(), what) for what in wrong_scene(row.scene)]
        for turn, dialogue in enumerate(row.scene["dialogues"]):
            problems += [Problem(row.at(turn), what) for what in wrong_turn(row.scene, turn, dialogue)]
    problems += [Problem(rows[at].at(turn), f"knows {what}") for at, turn, what in leaks([row.scene for row in rows])]
    pairs = near_duplicates([row.scene for row in rows])
    for pair in pairs:
        if pair.similarity >= MAX_SIMILARITY:
            where, other = (rows[at].at(turn) for at, turn in (pair.first, pair.second))
            problems.append(Problem(where, f"{pair.part} nearly repeats {other} (Jaccard {pair.similarity:.2f})"))
    figures = statistics([(row.file.removesuffix(".jsonl"), row.scene) for row in rows], pairs)
    return figures, [*problems, *wrong_whole(rows, figures)]


def wrong_fields(scene: Any) -> Iterator[str]:
    """Names, order and types of the fields."""
    if not isinstance(scene, dict):
        yield f"a row must be an object, got {type(scene).__name__}"
        return
    yield from _wrong_keys("", scene, ROW_KEYS)
    lists = {"key_characters": CHARACTER_KEYS, "dialogues": DIALOGUE_KEYS, "character_datasets": SETTING_KEYS}
    for name, value in scene.items():
        if name in ("i_p", "i_c"):
            if type(value) is not int or value < 0:
                yield f"{name} must be an integer from 0 up, got {value!r}"
        elif name not in lists:
            yield from _wrong_text(name, value)
        elif not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            yield f"{name} must be a list of objects with at least one, got {value!r:.80}"
        else:
            for index, item in enumerate(value):
                yield from _wrong_keys(f"{name}[{index}].", item, lists[name])
                for key, text in item.items():
                    if key == "origin_id":
                        if text != [index]:
                            yield f"{name}[{index}].origin_id must be [{index}], got {text!r}"
                    else:
                        yield from _wrong_text(f"{name}[{index}].{key}", text)


def _wrong_keys(where: str, item: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    if tuple(item) != keys:
        yield f"{where}fields must be {list(keys)} in this order, got {list(item)}"


def _wrong_text(where: str, text: Any) -> Iterator[str]:
    if not isinstance(text, str):
        yield f"{where} must be text, got {type(text).__name__}"
    elif text != text.strip() or (not text and where.rpartition(".")[2] not in MAY_BE_EMPTY):
        yield f"{where} must be text without white space at its ends, got {text!r:.80}"


def wrong_scene(scene: Mapping[str, Any]) -> Iterator[str]:
    """Cast, length, language and the fields that repeat one another."""
    names = [character["name"] for character in scene["key_characters"]]
    speakers = [dialogue["character"] for dialogue in scene["dialogues"]]
    key = f"{scene['book_name']}/{scene['i_p']}/{scene['i_c']}"
    if scene["trace_id"] != key:
        yield f"trace_id must be {key!r}, got {scene['trace_id']!r}"
    if scene["i_p"] < FIRST_PLOT:
        yield f"i_p must count from {FIRST_PLOT}, got {scene['i_p']}"
    if scene["language"] not in LANGUAGES:
        yield f"language must be one of {list(LANGUAGES)}, got {scene['language']!r}"
    elif bool(_CJK.search(scene["scenario"])) != (scene["language"] == "zh"):
        yield f"the scenario is not written in the row's language {scene['language']!r}"
    if not CAST_SIZE[0] <= len(names) <= CAST_SIZE[1] or len(set(names)) != len(names):
        yield f"needs {CAST_SIZE[0]} to {CAST_SIZE[1]} different characters, got {names}"
    if not SCENE_TURNS[0] <= len(speakers) <= SCENE_TURNS[1]:
        yield f"needs {SCENE_TURNS[0]} to {SCENE_TURNS[1]} turns, got {len(speakers)}"
    if set(speakers) - {ENVIRONMENT} != set(names):
        yield f"the cast {names} and the speakers {sorted(set(speakers))} must be the same"
    if any(one == other for one, other in pairwise(speakers)):
        yield "the same character speaks twice in a row"
    for setting, character in zip(scene["character_datasets"], scene["key_characters"], strict=False):
        same = {"character": character["name"], "motivation": character["motivation"]}
        same |= {field: scene[field] for field in ("book_name", "scenario", "topic")}
        for field, value in same.items():
            if setting[field] != value:
                where = f"character_datasets of {character['name']}: {field}"
                yield f"{where} must be {value!r:.60}, got {setting[field]!r:.60}"
    if len(scene["character_datasets"]) != len(names):
        yield f"character_datasets must hold the {len(names)} characters, got {len(scene['character_datasets'])}"


def wrong_turn(scene: Mapping[str, Any], index: int, dialogue: Mapping[str, Any]) -> Iterator[str]:
    """Format, notation, lengths and person of one turn."""
    name, text, plan = dialogue["character"], dialogue["standard_format"], dialogue["sys_thinking_revised"]
    names = [character["name"] for character in scene["key_characters"]]
    language = scene["language"] if scene["language"] in LANGUAGES else "en"
    whole = f"{system_block(plan)}\n{name}: {text}"
    turn = parse_turn(whole, speaker=name, names=names)
    if not turn.well_formed or turn.name != name:
        yield f"not well formed: {[str(issue) for issue in turn.issues] or 'no visible layer'}"
    if turn.render() != whole:
        yield f"rendering does not give the text back: {turn.render()!r:.120}"
    bare = parse_turn(text)
    if bare.name is not None or bare.segments != turn.segments:
        yield f"standard_format reads differently without the cast (label {bare.name!r})"
    for field, notation, view in (("message", "coser", "self"), ("without_think", "her", "others")):
        if dialogue[field] != bare.render(notation, view):
            yield f"{field} must be {bare.render(notation, view)!r:.80}, got {dialogue[field]!r:.80}"
    if parse_turn(dialogue["message"], notation="coser").segments != turn.segments:
        yield "message, read as CoSER notation, is another turn"
    if index and turn.pattern == _pattern(scene["dialogues"][index - 1], names):
        yield f"the same pattern as the turn before: {turn.pattern}"
    low, high = SYSTEM_LENGTH[language]
    length = length_of(plan, language)
    if not low <= length <= high:
        yield f"system thinking must be {low} to {high} {'words' if language == 'en' else 'characters'}, got {length}"
    if _USER.search(plan):
        yield "system thinking speaks of a user"
    if _FIRST_PERSON[language].search(_QUOTED.sub(" ", plan)):
        yield "system thinking must be third person"
    if not _names(name, plan, language):
        yield f"system thinking must name {name}"
    for segment in turn.segments:
        own_words = _QUOTED.sub(" ", segment.text)
        first = _FIRST_PERSON[language].search(own_words)
        if segment.layer is Layer.ROLE_THINKING and not first and not _OWN_NAMES.search(own_words):
            yield f"role thinking must be first person: {segment.text!r:.60}"
        if segment.layer is Layer.ROLE_ACTION and first:
            yield f"an action must be third person: {segment.text!r:.60}"
        if _BRACKETS.search(segment.text):
            yield f"brackets, angles and asterisks are notation, not text: {segment.text!r:.60}"


def _pattern(dialogue: Mapping[str, Any], names: list[str]) -> str:
    return parse_turn(dialogue["standard_format"], names=names).pattern


def _names(name: str, plan: str, language: str) -> bool:
    """Whether the plan holds a word of the name, in Chinese a character of it (王熙凤 is called 凤姐 as well)."""
    parts = set(re.findall(r"[A-Z]\w*", name)) - _TITLES if language == "en" else set(name)
    return any(part in plan for part in parts)


def wrong_whole(rows: Sequence[Row], figures: Mapping[str, Any]) -> Iterator[Problem]:
    """Counts, patterns, splits, keys and repetition of the whole data set."""
    least = {"scenes": MIN_ALL_SCENES, "books": MIN_BOOKS, "turns": MIN_TURNS}
    for name, minimum in least.items():
        if figures[name] < minimum:
            yield Problem("data", f"needs at least {minimum} {name}, got {figures[name]}")
    for language, minimum in MIN_SCENES.items():
        scenes = sum(split[language] for split in figures["splits"].values())
        if scenes < minimum:
            yield Problem("data", f"needs at least {minimum} scenes in {language!r}, got {scenes}")
    patterns = figures["patterns"]
    if patterns["distinct"] < MIN_PATTERNS:
        yield Problem("data", f"needs at least {MIN_PATTERNS} different patterns, got {patterns['distinct']}")
    if patterns["top_share"] > MAX_TOP_PATTERN:
        share = f"{patterns['top_share']:.1%} of turns, over {MAX_TOP_PATTERN:.0%}"
        yield Problem("data", f"pattern {patterns['top']} is {share}")
    for language, own in figures["languages"].items():
        for part, value in own["self_bleu_4"].items():
            if value > MAX_SELF_BLEU:
                yield Problem("data", f"Self-BLEU-4 of {part} in {language!r} is {value}, over {MAX_SELF_BLEU}")
    yield from _wrong_splits(rows, figures)


def _wrong_splits(rows: Sequence[Row], figures: Mapping[str, Any]) -> Iterator[Problem]:
    keys = Counter(row.scene["trace_id"] for row in rows)
    home: dict[str, Row] = {}
    for row in rows:
        if keys[row.scene["trace_id"]] > 1:
            yield Problem(row.at(), f"the key {row.scene['trace_id']} stands {keys[row.scene['trace_id']]} times")
        first = home.setdefault(row.scene["book_name"], row)
        if first.file != row.file:
            yield Problem(row.at(), f"the book {row.scene['book_name']!r} is in another split too: {first.at()}")
    for split, own in figures["splits"].items():
        for language in LANGUAGES:
            if not own[language]:
                yield Problem(f"{split}.jsonl", f"has no scene in {language!r}")
    share = figures["splits"].get("train", {}).get("turns", 0) / figures["turns"]
    if share < MIN_TRAIN_TURNS:
        yield Problem("train.jsonl", f"needs at least {MIN_TRAIN_TURNS:.0%} of the turns, got {share:.1%}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks her-mini against its own rules and prints what was measured.")
    parser.add_argument("--data", type=Path, default=FOLDER / "data", help="folder of the JSONL files")
    parser.add_argument("--json", action="store_true", help="print statistics and problems as one JSON object")
    parser.add_argument("--write-card", action="store_true", help="renew README.md and patterns.png")
    options = parser.parse_args(arguments)
    figures, problems = validate(options.data)
    if options.json:
        report = {"statistics": figures, "problems": [str(problem) for problem in problems]}
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        print(table(figures) if figures else "nothing measured")
        for problem in problems:
            print(problem, file=sys.stderr)
        print("her-mini is valid" if not problems else f"{len(problems)} problems", file=sys.stderr)
    if options.write_card and problems:
        print("the card was not changed: fix the problems first", file=sys.stderr)
    elif options.write_card:
        write_card(FOLDER / "README.md", figures)
        draw_patterns([row.scene for row in read(options.data)[0]], FOLDER / FIGURE)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
