"""Reading pairs: JSONL files, and preference sets of the Hub or a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from her_hf.scenes import Scene

from .circumstances import circumstances_of
from .pairs import BadPair, Pair


def read_pairs(
    source: str | Path, *, split: str | None = None, seed: int = 42, scenes: Iterable[Scene] = ()
) -> list[Pair | BadPair]:
    """Reads pairs, one entry per row: a row that is not a pair gives a [`BadPair`] in its place.

    Args:
        source (`str` or `Path`): A JSONL file; or a folder or Hub id of a preference set, which `datasets` loads.
        split (`str`, *optional*): Split of the preference set; `"test"` if not given.
        seed (`int`, *optional*, defaults to 42): Of the order of the two sides of a preference row.
        scenes (`Iterable[Scene]`, *optional*): Scenes that rows name by `scene_key` and `turn`. A row without
            circumstances gets them from its scene, if its prompt is what the scene shows the character at that turn.

    Raises:
        `FileNotFoundError`: If there is no such file.
        `ValueError`: If not a single row is a pair; the message names the first problem.
    """
    by_key = {scene.key_text: scene for scene in scenes}
    found: list[Pair | BadPair] = []
    for where, row in _rows(source, split):
        try:
            pair = Pair.from_row(json.loads(row) if isinstance(row, str) else row, seed=seed)
            found.append(_from_its_scene(pair, by_key))
        except json.JSONDecodeError as error:
            found.append(BadPair(f"{where}: not JSON ({error})"))
        except ValueError as error:
            found.append(BadPair(f"{where}: {error}"))
    if not any(isinstance(pair, Pair) for pair in found):
        first = next((pair.what for pair in found if isinstance(pair, BadPair)), "the file is empty")
        raise ValueError(f"{source} holds no pair that can be judged, in {len(found)} rows; the first: {first}")
    return found


def count_from_prompt(pairs: Iterable[Pair | BadPair]) -> int:
    """How many pairs carry no circumstances, so that they are read out of the prompt."""
    return sum(isinstance(pair, Pair) and pair.carried is None for pair in pairs)


def _from_its_scene(pair: Pair, scenes: Mapping[str, Scene]) -> Pair:
    """The pair with the circumstances of the scene that it names; unchanged if it does not fit that scene."""
    scene, turn = scenes.get(str(pair.extra.get("scene_key"))), pair.extra.get("turn")
    if pair.carried is not None or scene is None or not isinstance(turn, int):
        return pair
    if not 0 <= turn <= len(scene.dialogue) or pair.character not in [member.name for member in scene.cast]:
        return pair
    prompts = (scene.messages_for(pair.character, turns=turn, system_thinking=thinking) for thinking in (False, True))
    if list(pair.prompt) not in prompts:
        return pair
    return replace(pair, carried=circumstances_of(scene, pair.character, turns=turn))


def _rows(source: str | Path, split: str | None) -> Iterator[tuple[str, Any]]:
    file = Path(source)
    if file.is_file():
        if split is not None:
            raise ValueError(f"a split is for a data set, but {source} is a file: leave out the split")
        # Split at newlines alone: other line breaks of Unicode may stand inside a JSON string.
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
            if line.strip():
                yield f"{source}, line {number}", line
        return
    if file.suffix in (".jsonl", ".json"):
        raise FileNotFoundError(f"there is no file {source}: give a JSONL file of pairs, or a preference set.")
    from datasets import load_dataset

    with TemporaryDirectory() as cache:
        # The cache of `datasets` may give what a folder held before its files were changed; a folder is read afresh.
        fresh = {"cache_dir": cache, "keep_in_memory": True} if file.is_dir() else {}
        rows = load_dataset(str(source), split=split or "test", **fresh)
        for number, row in enumerate(rows):
            yield f"{source}, row {number}", row
