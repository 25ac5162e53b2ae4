"""Assembles the data files from her-mini and the sources: written corruptions and replies sampled from models.

    python dataset_cards/her-mini-preferences/build.py [--out FOLDER]

Reads `../her-mini`, `sources/written.jsonl` (corruptions, written one by one) and `sources/sampled.jsonl`
(`sample.py`) with `sources/notes.jsonl` (what was found wrong with each of those). Writes `data/train.jsonl`,
`validation.jsonl`, `test.jsonl`; the same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kinds import KINDS, SAMPLED

from her_hf.dual_layer import View
from her_hf.durable import replace_text
from her_hf.judging.pairwise.principles import load_principles
from her_hf.scenes import Scene, load_scenes, read_turn
from her_hf.scenes.messages import labelled

FOLDER = Path(__file__).parent
HER_MINI = FOLDER.parent / "her-mini"
SPLITS = ("train", "validation", "test")
MOST_LONGER = 0.12
"""A losing side this much longer than the winning one (in characters) is left out: corruptions tend to grow."""


def lines(name: str) -> list[dict[str, Any]]:
    """Rows of a file of the sources."""
    file = FOLDER / "sources" / name
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def preference(scene: Scene, found: dict[str, Any], source: str) -> dict[str, Any]:
    """One row: the written turn of her-mini against another version of it.

    Raises:
        `ValueError`: If the other version cannot stand in that turn's place.
    """
    turn = scene.dialogue[found["turn"]]
    name = str(turn.name)
    other = read_turn(found["text"], name)
    if other.issues:
        raise ValueError(f"{scene.key_text}, turn {found['turn']}, {found['kind']}: {sorted(other.issues)}")
    library = load_principles()
    broken = library.keyed(KINDS[found["kind"]])
    compared = [{"key": broken.key, "winner": "chosen", "reason": found["because"]}]
    for one in found["principles"]:
        winner = {"original": "chosen", "rewrite": "rejected", "tie": "tie"}[one["winner"]]
        compared.append({"key": one["key"], "winner": winner, "reason": one["because"]})
    return {
        "prompt": scene.messages_for(name, turns=found["turn"], system_thinking=False),
        "chosen": [{"role": "assistant", "content": labelled(turn, View.SELF)}],
        "rejected": [{"role": "assistant", "content": labelled(other, View.SELF)}],
        "kind": found["kind"],
        "source": source,
        "principles": [
            {"key": one["key"], "name": library.keyed(one["key"]).name, **{k: one[k] for k in ("winner", "reason")}}
            for one in compared
        ],
        "evidence": f'{{rejected}} {found["because"]}: "{found["evidence"]}"',
        "scene_key": scene.key_text,
        "turn": found["turn"],
        "character": name,
        "book": scene.book,
    }


def too_long(row: dict[str, Any]) -> bool:
    """Whether the losing side is so much longer that its length would give it away."""
    chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
    return len(rejected) > len(chosen) * (1 + MOST_LONGER)


def assemble() -> Iterator[tuple[str, dict[str, Any]]]:
    """Split and row of every pair, in the order of scenes, turns and kinds."""
    notes = {(row["kind"], row["scene"], row["turn"]): row for row in lines("notes.jsonl")}
    variants = [(row, "written") for row in lines("written.jsonl")]
    for row in lines("sampled.jsonl"):
        kind = SAMPLED[row["model"]]
        if note := notes.get((kind, row["scene"], row["turn"])):
            variants.append(({**row, **note, "kind": kind}, row["model"]))
    order = list(KINDS)
    for split in SPLITS:
        scenes = {scene.key_text: scene for scene in load_scenes(HER_MINI, split=split)}
        here = [pair for pair in variants if pair[0]["scene"] in scenes]
        places = {key: at for at, key in enumerate(scenes)}
        here.sort(key=lambda pair: (places[pair[0]["scene"]], pair[0]["turn"], order.index(pair[0]["kind"])))
        for row, source in here:
            found = preference(scenes[row["scene"]], row, source)
            if not too_long(found):
                yield split, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER / "data", help="Folder of the data files.")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    texts = dict.fromkeys(SPLITS, "")
    for split, row in assemble():
        texts[split] += json.dumps(row, ensure_ascii=False) + "\n"
    for split, text in texts.items():
        replace_text(out / f"{split}.jsonl", text)
        print(f"{split}: {len(text.splitlines())} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
