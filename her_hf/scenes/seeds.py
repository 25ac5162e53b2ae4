"""Seeds of MiniMax's Role-Play Bench: the character, the user, and the opening of the conversation.

Source: the Hub dataset MiniMaxAI/role-play-bench (seeds), which has the same columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from her_hf.dual_layer import ENVIRONMENT

from .errors import SceneError
from .fields import guess_language, language_of, needed_text, shown, text
from .load import read_file
from .models import Language
from .names import one_line
from .prompt import LANGUAGES
from .sources import files_of

HUB = "MiniMaxAI/role-play-bench"
"""The public subset of MiniMax's bench on the Hub: 50 Chinese and 45 English seeds."""

_TEXTS = ("ai_setting", "ai_prologue", "initial_user_input")
_ALL = ("id", "ai_name", "ai_setting", "user_name", "user_setting", "ai_prologue", "initial_user_input")


class Seed(BaseModel):
    """One setting and its opening.

    Args:
        id (`str`): Identifies the seed among those of its language.
        language (`str`): `"en"` or `"zh"`.
        ai_name, ai_setting (`str`): The character played by the model under test, with its description and world.
        user_name, user_setting (`str`): The user's role; the setting may be empty.
        ai_prologue (`str`): The character's first turn.
        initial_user_input (`str`): The user's answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    language: Language
    ai_name: str
    ai_setting: str
    user_name: str
    user_setting: str = ""
    ai_prologue: str
    initial_user_input: str

    @property
    def key(self) -> tuple[str, str]:
        """The identity of a seed: (language, id)."""
        return self.language, self.id


def load_seeds(source: str | Path, language: str | None = None) -> list[Seed]:
    """Loads seeds from a file, a folder or the Hub.

    Args:
        source (`str` or `Path`): JSONL, JSON or Parquet; a folder of such files, or a copy of the Hub dataset
            (`data/zh/seeds.parquet`, `data/en/seeds.parquet`); `"MiniMaxAI/role-play-bench"`; or any Hub dataset
            (`owner/name`, `owner/name:config`) with such rows. A row may have a `language`; otherwise it is guessed
            from its texts.
        language (`str`, *optional*): Only seeds of this language.

    Returns:
        `list[Seed]`: At least one seed, in the order of the source.

    Raises:
        `SceneError`: If there is no such source, a column is missing or wrong (the message names file, row and
            column), two seeds share an id, or there is no seed of the language.
        `ValueError`: If the language is unknown.

    Example (not run: it needs the Hub):

    ```python
    >>> load_seeds("MiniMaxAI/role-play-bench", "zh")[0].ai_name
    ```
    """
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"language must be one of {list(LANGUAGES)}, got {language!r}")
    known: set[tuple[str, str]] = set()
    seeds: list[Seed] = []
    for file, given in _files(source, language):
        seeds.extend(read_file(file, _reader(given, known)))
    found = [seed for seed in seeds if language in (None, seed.language)]
    if not found:
        raise SceneError(f"has {len(seeds)} seeds, but none in the language {language!r}.", source=str(source))
    return found


def bench_files(source: str | Path, kind: str, language: str) -> list[Path]:
    """The files of one kind in the Hub dataset or a local copy of it.

    Args:
        source (`str` or `Path`): The Hub id, or a folder with `data/{zh,en}/{kind}.parquet`.
        kind (`str`): `"seeds"`, `"dialogues"` or `"evaluations"`.
        language (`str`): `"en"` or `"zh"`.

    Raises:
        `SceneError`: If they do not exist.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return files_of(f"{source}:{kind}_{language}")
    file = folder / "data" / language / f"{kind}.parquet"
    if not file.is_file():
        raise SceneError(
            f"holds no data/{language}/{kind}.parquet; give a complete copy of {HUB}, or that id if the Hub can be "
            "reached.",
            source=str(folder),
        )
    return [file]


def _files(source: str | Path, language: str | None) -> Iterator[tuple[Path, str | None]]:
    """Files with their language, if the path contains it."""
    wanted = LANGUAGES if language is None else (language,)
    folder = Path(source).expanduser()
    copy = [code for code in LANGUAGES if (folder / "data" / code / "seeds.parquet").is_file()]
    if str(source) != HUB and not copy:
        yield from ((file, None) for file in files_of(source))
        return
    for code in wanted:
        if not copy or code in copy or language is not None:
            yield from ((file, code) for file in bench_files(source, "seeds", code))


def _reader(
    language: str | None, known: set[tuple[str, str]]
) -> Callable[[dict[str, Any]], tuple[list[Seed], list[SceneError]]]:
    def read(row: dict[str, Any]) -> tuple[list[Seed], list[SceneError]]:
        seed = read_seed(row if language is None else {**row, "language": language})
        if seed.key in known:
            raise SceneError(
                f"is {seed.id!r}, like that of an earlier {seed.language} seed; give each seed its own.", field="id"
            )
        known.add(seed.key)
        return [seed], []

    return read


def read_seed(row: dict[str, Any]) -> Seed:
    """Reads one row.

    Raises:
        `SceneError`: If a column is missing or wrong; other columns are ignored.
    """
    for column in _ALL:
        if column not in row:
            raise SceneError(f"is missing; the row has {sorted(row)}, and a seed needs {list(_ALL)}.", field=column)
    texts = {column: needed_text(row, column).strip() for column in _TEXTS}
    names = {column: _name(row, column) for column in ("ai_name", "user_name")}
    if names["ai_name"] == names["user_name"]:
        raise SceneError(f"is {names['user_name']!r}, the same as ai_name; use different names.", field="user_name")
    return Seed(
        id=_id(row),
        language=language_of(row) if row.get("language") else guess_language(*texts.values()),
        user_setting=text(row, "user_setting").strip(),
        **texts,
        **names,
    )


def _name(row: dict[str, Any], column: str) -> str:
    name = one_line(needed_text(row, column))
    if name == ENVIRONMENT:
        raise SceneError(f"is {ENVIRONMENT!r}, which is reserved for the world; use another name.", field=column)
    return name


def _id(row: dict[str, Any]) -> str:
    value = row["id"]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise SceneError(f"must be a text or whole number, got {shown(value)}.", field="id")
    return value.strip()
