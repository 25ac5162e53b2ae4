"""Checks her-mini-preferences against its own rules and prints what was measured.

    python dataset_cards/her-mini-preferences/validate.py [--json] [--data FOLDER] [--write-card]

If a rule is broken: exit code 1 and a list `file:row: what is wrong` (rows count from 1, as lines do). `--write-card`
writes what was measured into README.md. Needs `pip install "her_hf[data]"`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from balance import predictability, words_alone
from kinds import KINDS, SAMPLED, SEEN, UNSEEN

from her_hf.dual_layer import View, parse_turn
from her_hf.judging.pairwise.pairs import Pair
from her_hf.judging.pairwise.principles import load_principles
from her_hf.scenes import Scene, load_scenes
from her_hf.scenes.messages import labelled

FOLDER = Path(__file__).parent
HER_MINI = FOLDER.parent / "her-mini"
SPLITS = ("train", "validation", "test")
MIN_PAIRS, MIN_KINDS, MIN_PRINCIPLES = 600, 10, 3
CHANCE, MOST_ABOVE = 0.5, 0.05
"""How well length, position and pattern may predict the label: within 5 points of chance."""

FIELDS: tuple[str, ...] = ("prompt", "chosen", "rejected", "kind", "source", "principles", "evidence")
FIELDS += ("scene_key", "turn", "character", "book")
BEGIN, END = "<!-- measured: begin (written by validate.py --write-card) -->", "<!-- measured: end -->"
_QUOTE = re.compile(r'^\{rejected\} (?P<because>.+?): "(?P<quote>.+)"$', re.DOTALL)


def read(folder: Path) -> tuple[list[tuple[str, int, dict[str, Any]]], list[str]]:
    """Rows as (split, line, row), and what is wrong with lines that are none."""
    rows, problems = [], []
    for split in SPLITS:
        file = folder / f"{split}.jsonl"
        if not file.is_file():
            problems.append(f"{file.name}: missing in {folder}")
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
            if not line:
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                problems.append(f"{file.name}:{number}: not JSON: {error}")
                continue
            if not isinstance(row, dict) or tuple(row) != FIELDS:
                problems.append(f"{file.name}:{number}: fields must be {list(FIELDS)}, got {str(row)[:60]}")
            else:
                rows.append((split, number, row))
    return rows, problems


def validate(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Measures the data set and lists every broken rule."""
    rows, problems = read(folder)
    if not rows:
        return {}, [*problems, f"{folder}: no pair could be read"]
    homes = {scene.key_text: (split, scene) for split in SPLITS for scene in load_scenes(HER_MINI, split=split)}
    whole = []
    for split, number, row in rows:
        try:
            Pair.from_row(row)
        except ValueError as error:
            problems.append(f"{split}.jsonl:{number}: {error}")
            continue
        whole.append((split, number, row))
        problems += [f"{split}.jsonl:{number}: {what}" for what in wrong_row(split, row, homes)]
    if not whole:
        return {}, problems
    figures = measure(whole)
    return figures, [*problems, *wrong_whole(whole, figures)]


def wrong_row(split: str, row: Mapping[str, Any], homes: Mapping[str, tuple[str, Scene]]) -> Iterator[str]:
    """What is wrong with one row that is a pair."""
    home, scene = homes.get(row["scene_key"], (None, None))
    if scene is None:
        yield f"scene_key {row['scene_key']!r} is no scene of her-mini"
        return
    if home != split:
        yield f"its scene is in her-mini's {home} split"
    turn = scene.dialogue[row["turn"]]
    if row["character"] != turn.name or row["chosen"][0]["content"] != labelled(turn, View.SELF):
        yield "chosen is not the turn of her-mini"
    names = [member.name for member in scene.cast]
    other = parse_turn(row["rejected"][0]["content"], speaker=row["character"], names=names)
    if other.name != row["character"] or other.issues or other.system_thinking is not None:
        yield f"rejected is not well formed: label {other.name!r}, {[str(issue) for issue in other.issues]}"
    if other.pattern != turn.pattern:
        yield f"rejected has the pattern {other.pattern}, chosen {turn.pattern}: form would tell them apart"
    yield from _wrong_labels(split, row)


def _wrong_labels(split: str, row: Mapping[str, Any]) -> Iterator[str]:
    kind = row["kind"]
    if kind not in KINDS:
        yield f"kind must be one of {sorted(KINDS)}, got {kind!r}"
        return
    if kind in UNSEEN and split != "test":
        yield f"{kind} is held back for the test split"
    if row["source"] not in ("written", *SAMPLED) or (row["source"] == "written") == (kind in SAMPLED.values()):
        yield f"source {row['source']!r} does not go with {kind}"
    principles = row["principles"]
    if len(principles) < MIN_PRINCIPLES:
        yield f"needs at least {MIN_PRINCIPLES} principles, got {len(principles)}"
    if not principles or principles[0]["key"] != KINDS[kind] or principles[0]["winner"] != "chosen":
        yield f"the first principle must be {KINDS[kind]}, won by chosen"
    if len({one["key"] for one in principles}) < len(principles):
        yield "names a principle twice"
    library = load_principles()
    for one in principles:
        known = library.named(one["key"])
        if known is None or known.name != one["name"] or one["winner"] not in ("chosen", "rejected", "tie"):
            yield f"no principle of the library with a winner: {one}"
    quote = _QUOTE.match(row["evidence"])
    if not quote or quote["quote"] not in row["rejected"][0]["content"]:
        yield "evidence must quote words of rejected"


def wrong_whole(rows: Sequence[tuple[str, int, dict[str, Any]]], figures: Mapping[str, Any]) -> Iterator[str]:
    """Counts, repetition, and whether length, position or pattern give the label away."""
    if figures["pairs"] < MIN_PAIRS:
        yield f"data: needs at least {MIN_PAIRS} pairs, got {figures['pairs']}"
    kinds = {row["kind"] for split, _, row in rows if split == "train"} & SEEN.keys()
    if len(kinds) < MIN_KINDS:
        yield f"data: training needs at least {MIN_KINDS} kinds of corruption, got {len(kinds)}"
    if not UNSEEN.keys() <= {row["kind"] for split, _, row in rows if split == "test"}:
        yield f"data: the test split needs all of {sorted(UNSEEN)}"
    for what, counts in (
        ("pair", Counter((row["scene_key"], row["turn"], row["kind"]) for _, _, row in rows)),
        ("losing text", Counter(row["rejected"][0]["content"] for _, _, row in rows)),
    ):
        for twice in (key for key, count in counts.items() if count > 1):
            yield f"data: the {what} comes twice: {str(twice)[:80]}"
    found = figures["predictability"]["accuracy"]
    if abs(found - CHANCE) > MOST_ABOVE:
        yield f"data: length, position and pattern predict the label with {found:.1%}, more than 5 points from chance"


def measure(rows: Sequence[tuple[str, int, dict[str, Any]]]) -> dict[str, Any]:
    """What the card says."""
    pairs = [Pair.from_row(row) for _, _, row in rows]
    words = [
        (len(row["chosen"][0]["content"].split()), len(row["rejected"][0]["content"].split())) for _, _, row in rows
    ]
    sizes = [(len(row["chosen"][0]["content"]), len(row["rejected"][0]["content"])) for _, _, row in rows]
    of: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for pair, (split, _, _) in zip(pairs, rows, strict=True):
        of[split].append(pair)
    return {
        "pairs": len(rows),
        "splits": {
            split: {
                "pairs": sum(own == split for own, _, _ in rows),
                "scenes": len({row["scene_key"] for own, _, row in rows if own == split}),
                "kinds": dict(Counter(row["kind"] for own, _, row in rows if own == split)),
            }
            for split in SPLITS
        },
        "sources": dict(Counter(row["source"] for _, _, row in rows)),
        "principles": len({one["key"] for _, _, row in rows for one in row["principles"]}),
        "words": {"chosen": round(fmean(a for a, _ in words), 1), "rejected": round(fmean(b for _, b in words), 1)},
        "chosen_longer": round(fmean((a > b) + 0.5 * (a == b) for a, b in words), 3),
        "cand_1_better": round(fmean(pair.label == "cand_1" for pair in pairs), 3),
        "predictability": predictability(pairs, [row["scene_key"] for _, _, row in rows]),
        "words_alone": {
            name: words_alone(of["train"], [pair for pair in of["test"] if (pair.extra["kind"] in UNSEEN) is unseen])
            for name, unseen in (("seen", False), ("unseen", True))
        },
        "longer_by_source": {
            source: round(
                fmean(a > b for (a, b), (_, _, row) in zip(sizes, rows, strict=True) if row["source"] == source), 3
            )
            for source in ("written", *SAMPLED)
        },
    }


def table(figures: Mapping[str, Any]) -> str:
    """The statistics as Markdown."""
    splits = figures["splits"]
    lines = ["| kind | principle broken | " + " | ".join(SPLITS) + " |", "|---|---|" + "---:|" * len(SPLITS)]
    library = load_principles()
    for kind, key in KINDS.items():
        counts = " | ".join(str(splits[split]["kinds"].get(kind, 0)) for split in SPLITS)
        held = " (test alone)" if kind in UNSEEN else ""
        lines.append(f"| {kind}{held} | {library.keyed(key).name} | {counts} |")
    lines.append("| all pairs | | " + " | ".join(str(splits[split]["pairs"]) for split in SPLITS) + " |")
    lines.append("| scenes | | " + " | ".join(str(splits[split]["scenes"]) for split in SPLITS) + " |")
    guess = figures["predictability"]
    words = figures["words"]
    sources = ", ".join(f"{name} {count}" for name, count in figures["sources"].items())
    lines += ["", "| measured | value |", "|---|---|"]
    lines += [
        f"| pairs | {figures['pairs']} |",
        f"| losing side from | {sources} |",
        f"| different principles named | {figures['principles']} |",
        f"| words of a side, mean (chosen / rejected) | {words['chosen']} / {words['rejected']} |",
        f"| chosen is the longer side (words; equal length counts half) | {figures['chosen_longer']:.1%} |",
        f"| cand_1 is the better side, order drawn with seed 42 | {figures['cand_1_better']:.1%} |",
        f"| logistic regression on length, position and pattern, accuracy in {guess['folds']} folds by scene "
        f"| {guess['accuracy']:.1%} |",
        "| chosen has more characters: written, base, her-sft | "
        + ", ".join(f"{share:.0%}" for share in figures["longer_by_source"].values())
        + " |",
        "| logistic regression on single words, train to test: seen kinds, unseen kinds | "
        f"{figures['words_alone']['seen']:.1%}, {figures['words_alone']['unseen']:.1%} |",
    ]
    return "\n".join(lines)


def write_card(path: Path, figures: Mapping[str, Any]) -> None:
    """Puts the statistics between the marks of the card and leaves the rest alone."""
    card = path.read_text(encoding="utf-8")
    if card.count(BEGIN) != 1 or card.count(END) != 1:
        raise ValueError(f"{path.name} must hold the lines {BEGIN!r} and {END!r}, once each")
    before, after = card.partition(BEGIN)[0], card.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{table(figures)}\n\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=FOLDER / "data", help="Folder of the data files.")
    parser.add_argument("--json", action="store_true", help="Print the statistics as JSON.")
    parser.add_argument("--write-card", action="store_true", help="Write the statistics into README.md.")
    given = parser.parse_args(arguments)
    figures, problems = validate(given.data)
    if figures:
        print(json.dumps(figures, indent=2, ensure_ascii=False) if given.json else table(figures))
    for problem in problems:
        print(problem, file=sys.stderr)
    if given.write_card and not problems:
        write_card(FOLDER / "README.md", figures)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
