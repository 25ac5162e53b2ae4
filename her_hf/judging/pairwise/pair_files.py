"""Reading pairs: JSONL files, and preference sets of the Hub or a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

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
    found = list(_pairs(_rows(source, split), seed, {scene.key_text: scene for scene in scenes}))
    _check_some(source, found)
    return found


class Pairs(Protocol):
    """Pairs in order, which can be iterated more than once: a list, or a [`PairFile`]."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pair | BadPair]: ...


class PairFile:
    """The pairs of [`read_pairs`], read one at a time, and again whenever they are iterated.

    Args:
        source, split, seed, scenes: As in [`read_pairs`].

    Raises:
        `FileNotFoundError`, `ValueError`: As [`read_pairs`]; also a `ValueError` while it is iterated, if the file has
            changed since.

    Example (not run: it needs a file):

    ```python
    >>> pairs = PairFile("pairs.jsonl")
    >>> len(pairs), next(iter(pairs)).character
    (20000, 'Jo')
    ```
    """

    def __init__(
        self, source: str | Path, *, split: str | None = None, seed: int = 42, scenes: Iterable[Scene] = ()
    ) -> None:
        self._rows = _rows(source, split)
        self._seed, self._scenes = seed, {scene.key_text: scene for scene in scenes}
        self._limit: int | None = None
        self._count = _check_some(source, self)

    def first(self, limit: int | None) -> PairFile:
        """Only the first pairs; all of them without a limit."""
        part = copy(self)
        part._limit = limit
        return part

    def __len__(self) -> int:
        return self._count if self._limit is None else min(self._limit, self._count)

    def __iter__(self) -> Iterator[Pair | BadPair]:
        return islice(_pairs(self._rows, self._seed, self._scenes), self._limit)


def _pairs(rows: Iterable[_Row], seed: int, scenes: Mapping[str, Scene]) -> Iterator[Pair | BadPair]:
    for where, row in rows:
        try:
            pair = Pair.from_row(json.loads(row) if isinstance(row, str) else row, seed=seed)
            yield _from_its_scene(pair, scenes)
        except json.JSONDecodeError as error:
            yield BadPair(f"{where}: not JSON ({error})")
        except ValueError as error:
            yield BadPair(f"{where}: {error}")


def _check_some(source: str | Path, pairs: Iterable[Pair | BadPair]) -> int:
    """The number of pairs, of which at least one must be whole."""
    count, some, first = 0, False, None
    for pair in pairs:
        count += 1
        some = some or isinstance(pair, Pair)
        first = first or (pair.what if isinstance(pair, BadPair) else None)
    if not some:
        raise ValueError(
            f"{source} holds no pair that can be judged, in {count} rows; the first: {first or 'the file is empty'}"
        )
    return count


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


_Row = tuple[str, Any]
"""Where a row is, and the row: a line of JSON, or its fields."""


@dataclass(frozen=True)
class _Lines:
    """The lines of a file that must stay as it was when it was opened first."""

    source: str | Path
    state: tuple[int, int]

    def __iter__(self) -> Iterator[_Row]:
        self._check()
        # Lines end at newlines alone: other line breaks of Unicode may stand inside a JSON string.
        with Path(self.source).open(encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{self.source}, line {number}", line.removesuffix("\n")
        self._check()

    def _check(self) -> None:
        if _state(Path(self.source)) != self.state:
            raise ValueError(f"{self.source} was changed while its pairs were read. Start again.")


def _state(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class _Dataset:
    """The rows of a loaded preference set."""

    source: str | Path
    rows: Iterable[Any]

    def __iter__(self) -> Iterator[_Row]:
        return ((f"{self.source}, row {number}", row) for number, row in enumerate(self.rows))


def _rows(source: str | Path, split: str | None) -> Iterable[_Row]:
    file = Path(source)
    if file.is_file():
        if split is not None:
            raise ValueError(f"a split is for a dataset, but {source} is a file: leave out the split")
        return _Lines(source, _state(file))
    if file.suffix in (".jsonl", ".json"):
        raise FileNotFoundError(f"there is no file {source}: give a JSONL file of pairs, or a preference set.")
    from datasets import load_dataset

    with TemporaryDirectory() as cache:
        # The cache of `datasets` may give what a folder held before its files were changed; a folder is read afresh.
        fresh = {"cache_dir": cache, "keep_in_memory": True} if file.is_dir() else {}
        return _Dataset(source, load_dataset(str(source), split=split or "test", **fresh))
