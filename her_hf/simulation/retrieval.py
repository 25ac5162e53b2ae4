"""Passages of the book for the actor: its text, what happens to the character, and conversations.

Spoilers of the played scene are held out: its plot, with text, summary and all conversations, and any other passage
that repeats a run of words of that plot, since neighbouring plots of a book share text. A plot that describes the same
event in other words is not recognised. All other plots are included, later ones too, as in CoSER. An actor never gets
another character's experience or thoughts; text and conversations may contain what its character does not know.

Source: CoSER (ICML 2025), retrieval in given-circumstance acting: query, chunks and numbers of passages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from her_hf.dual_layer import Turn, View, escape_tags
from her_hf.durable import digest
from her_hf.extras import missing_library
from her_hf.scenes import Scene, SceneError
from her_hf.scenes.fields import Row, items, text, whole
from her_hf.scenes.files import rows_of
from her_hf.scenes.names import title_key
from her_hf.scenes.readers.cast import by_name, plot_fields
from her_hf.scenes.readers.coser import coser_turn
from her_hf.scenes.readers.coser_book import conversations_of, entries_of, plot_index, title_of
from her_hf.scoring.diversity import Gram, grams, is_cjk, tokenize

from .coser import Memory

KINDS = ("none", "bm25", "embeddings")
EMBEDDER = "BAAI/bge-m3"
"""A multilingual model, including Chinese, whose window holds a whole chunk."""

HEARD = 3
"""Number of newest messages in the query."""
CHUNK, OVERLAP = 1000, 200
"""Characters of a chunk, and of its overlap with the next one."""
MAX_PASSAGES = {"text": 1, "experience": 3, "conversation": 1}
"""Maximum passages of each kind that an actor gets, most useful kind first."""
REPEATED = 8
"""Length in tokens (words, Chinese characters) of a run that does not repeat by chance. In CoSER's King Lear, plot 14
repeats 683 such runs of the text of plot 13, including lines of its conversation."""

_HEADINGS = {
    "en": {
        "text": "From the book",
        "experience": "What happens to {owner} elsewhere in the book",
        "conversation": "A conversation elsewhere in the book",
    },
    "zh": {"text": "书中原文", "experience": "{owner}在书中别处的经历", "conversation": "书中另一段对话"},
}

Scores = Callable[[str], Sequence[float]]
"""Takes a query, returns the score of each passage, in order."""


@dataclass(frozen=True)
class Passage:
    """A text of a book that can be looked up.

    Args:
        kind (`str`): `"text"`, `"experience"` or `"conversation"`.
        text (`str`): The text that an actor sees.
        matched (`str`): The text that queries are compared with. For an experience it includes the summary of its
            plot, which is not shown since it contains what others know.
        plots (`frozenset[int]`): The numbers (`i_p`) that scenes may use for its plot.
        chapter (`str`, *optional*): Its chapter.
        owner (`str`, *optional*): The character of an experience; only this one gets it.
    """

    kind: str
    text: str
    matched: str
    plots: frozenset[int]
    chapter: str = ""
    owner: str = ""

    def shown(self, language: str) -> str:
        """The passage under a heading with its kind; layer tags in it are escaped."""
        heading = _HEADINGS[language][self.kind].format(owner=self.owner)
        place = f" ({self.chapter})" if self.chapter else ""
        return escape_tags(f"{heading}{place}:\n{self.text}")


@dataclass(frozen=True)
class _Shelf:
    """A book's passages with their index."""

    passages: list[Passage]
    scores: Scores


def open_memory(kind: str, books: Path | None, scenes: Sequence[Scene], *, model: str = EMBEDDER) -> Memory | None:
    """Opens the books of scenes, so that actors get relevant passages.

    A book is read and indexed at the first query of one of its scenes, and cached. Results depend only on scene, turns
    and speaker; of passages with equal scores, the one that comes first in the book is preferred.

    Args:
        kind (`str`): `"none"`, `"bm25"` (shared words; for Chinese, characters and pairs of them) or `"embeddings"`
            (similarity of meaning).
        books (`Path`, *optional*): A CoSER book, or a folder of them, each named after its title:
            `King Lear.json` or `book_king_lear.json`; case and punctuation do not matter.
        scenes (`Sequence[Scene]`): All scenes that will be played, with their original conversations.
        model (`str`, *optional*, defaults to `"BAAI/bge-m3"`): For `"embeddings"`: a sentence-transformers model.

    Returns:
        `Callable` or `None`: For [`~her_hf.simulation.coser.play_scene`]; `None` for `"none"`. The query is the newest
            3 messages in OTHERS view (before the first turn, the scenario). The result is up to 1 chunk of text, 3
            experiences of the speaker and 1 chunk of a conversation without thoughts, each with a score above 0.

    Raises:
        `ValueError`: If the kind is unknown or no books are named.
        `FileNotFoundError`: If the book of a scene is missing; the message lists the file names that were tried.
        `ImportError`: If the package that the kind needs is not installed.
        `SceneError`: At the first query of a scene, if its book cannot be read.

    Example (not run: it needs a model):

    ```python
    >>> memory = open_memory("bm25", Path("books"), scenes)
    >>> performance = await play_scene(scenes[0], troupe, settings, memory=memory)
    ```
    """
    if kind not in KINDS:
        raise ValueError(f"retrieval must be one of {list(KINDS)}, got {kind!r}")
    if kind == "none":
        return None
    if books is None:
        raise ValueError(f"retrieval by {kind!r} needs the books: name a CoSER book or a folder of them (--books)")
    files = book_files(books, scenes)
    index = _bm25() if kind == "bm25" else _embeddings(model)
    originals = {scene.key: scene for scene in scenes}

    @cache
    def shelf(book: str) -> _Shelf:
        passages = read_passages(files[book])
        return _Shelf(passages, index([passage.matched for passage in passages]) if passages else lambda query: [])

    @cache
    def free(key: tuple[str, int, int]) -> list[int]:
        return outside(originals[key], shelf(key[0]).passages)

    def look_up(scene: Scene, turns: Sequence[Turn], speaker: str) -> list[str]:
        if scene.key not in originals:
            raise ValueError(f"the scene {scene.key} was not given to open_memory: pass all scenes that are played")
        found = shelf(scene.book)
        scores = found.scores(query_of(scene, turns))
        ranked = sorted((at for at in free(scene.key) if scores[at] > 0), key=lambda at: (-scores[at], at))
        mine = [passage for at in ranked if (passage := found.passages[at]).owner in ("", speaker)]
        best = [[passage for passage in mine if passage.kind == kind][:count] for kind, count in MAX_PASSAGES.items()]
        return [passage.shown(scene.language) for passages in best for passage in passages]

    return look_up


def query_of(scene: Scene, turns: Sequence[Turn]) -> str:
    """The newest messages in OTHERS view, without those that show nothing; before the first, the scenario."""
    visible = [turn for turn in turns if any(View.OTHERS.shows(segment.layer) for segment in turn.segments)]
    return "\n".join(turn.render("coser", View.OTHERS) for turn in visible[-HEARD:]) or scene.scenario


def outside(scene: Scene, passages: Sequence[Passage]) -> list[int]:
    """Indices of the passages that are not spoilers of the scene; see the docstring of this module."""
    plot = scene.extra.get("plot") or {}
    texts = [str(plot.get(field) or "") for field in ("text", "summary")] if isinstance(plot, dict) else []
    texts += [segment.text for turn in scene.dialogue for segment in turn.segments]
    texts += [passage.matched for passage in passages if scene.i_p in passage.plots]
    own = {run for piece in texts for run in _runs(piece)}
    return [
        at
        for at, passage in enumerate(passages)
        if scene.i_p not in passage.plots and own.isdisjoint(_runs(passage.matched))
    ]


def _runs(piece: str) -> list[Gram]:
    return grams(tokenize(piece), REPEATED)


# -- books


def book_files(books: Path, scenes: Sequence[Scene]) -> dict[str, Path]:
    """The file of each scene's book, by title.

    Raises:
        `FileNotFoundError`: If one is missing; the message lists the books and the file names that were tried.
        `ValueError`: If the names of two files are spellings of the same title.
    """
    if not books.exists():
        raise FileNotFoundError(f"{books} does not exist: name a CoSER book or a folder of them")
    files = sorted(books.glob("*.json")) if books.is_dir() else [books]
    known: dict[str, Path] = {}
    titles = list(dict.fromkeys(scene.book for scene in scenes))
    wanted = {title_key(title) for title in titles}
    for file in files:
        key = title_key(title_of(file.name))
        if key in known and key in wanted:
            raise ValueError(f"{known[key]} and {file} are spellings of the same title: keep one of them")
        known[key] = file
    missing = [title for title in titles if title_key(title) not in known]
    if missing:
        tried = "; ".join(f"{title!r} (tried {title}.json, book_{_plain(title, '_')}.json)" for title in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        held = ", ".join(file.name for file in files[:5]) + (", …" if len(files) > 5 else "")
        raise FileNotFoundError(
            f"no book file for {tried}{more}: {books} holds {held or 'no .json file'}. Add the books under one of "
            "these names, leave out their scenes, or play without retrieval."
        )
    return {title: known[title_key(title)] for title in titles}


def memory_digest(books: Path, scenes: Sequence[Scene], *, model: str = EMBEDDER) -> str:
    """A digest of the scenes' books and the embedding model, for a run's settings: other books are another run.

    Raises:
        `FileNotFoundError`: See [`book_files`].
    """
    files = book_files(books, scenes)
    return digest([model, {title: digest(file.read_text(encoding="utf-8")) for title, file in files.items()}])


def _plain(title: str, joint: str = " ") -> str:
    """A title without case and punctuation, which differ in file names."""
    return joint.join(tokenize(title))


def read_passages(file: Path) -> list[Passage]:
    """All passages of a CoSER book, in the order of the book.

    Raises:
        `SceneError`: If the file is not a book or one of its fields is wrong.
    """
    try:
        rows = [row for _, row in rows_of(file)]
        if len(rows) != 1 or not isinstance(rows[0], dict) or not isinstance(rows[0].get("plots"), list):
            raise SceneError("is not a CoSER book: it must be one JSON object with a list of 'plots'.")
        plots = items(rows[0], "plots")
        found = [passage for place, plot in enumerate(plots) for passage in _passages(plot, place)]
    except SceneError as error:
        raise error.at(str(file)) from error
    return [passage for passage in found if tokenize(passage.matched)]


def _passages(plot: Row, place: int) -> list[Passage]:
    path = f"plots[{place}]."
    people = items(plot, "key_characters", path)
    conversations = conversations_of(plot, path)
    chapter, summary = text(plot, "chapter", path), text(plot, "summary", path)
    numbers = _numbers(place, plot, people, conversations)
    passage = partial(Passage, plots=numbers, chapter="" if chapter == "None" else chapter)
    found = [passage("text", chunk, chunk) for chunk in chunks(text(plot, "text", path))]
    for name, fields in by_name(people, f"{path}key_characters", plot_fields).items():
        if lived := fields.get("experience"):
            found.append(passage("experience", lived, f"{summary}\n{lived}", owner=name))
    for i_c, conversation in enumerate(conversations):
        messages = items(conversation, "dialogues", f"{path}conversation[{i_c}].")
        turns = [coser_turn(one, f"{path}conversation[{i_c}].dialogues[{at}].", at) for at, one in enumerate(messages)]
        lines = [turn.render("coser", View.OTHERS) for turn in turns]
        found += [passage("conversation", chunk, chunk) for chunk in packed(lines)]
    return found


def _numbers(place: int, plot: Row, people: Sequence[Row], conversations: Sequence[Row]) -> frozenset[int]:
    """The numbers (`i_p`) that scenes may use for the plot: those of the scene reader, and any given in the book."""
    entries = [plot, *people, *(entry for one in conversations for entry in (one, *entries_of(one)))]
    given = {found for entry in entries if (found := whole(entry.get("i_p"))) is not None}
    return frozenset(given | {plot_index(place, plot, one) for one in conversations} or {place})


def chunks(whole: str) -> list[str]:
    """A text in chunks of [`CHUNK`] characters, each of which starts with the last [`OVERLAP`] of the previous one."""
    whole = whole.strip()
    starts = range(0, max(len(whole) - OVERLAP, 1), CHUNK - OVERLAP)
    return [whole[start : start + CHUNK] for start in starts] if whole else []


def packed(turns: Sequence[str]) -> list[str]:
    """Turns in chunks of at most [`CHUNK`] characters, which overlap by whole turns of up to [`OVERLAP`] characters.

    No turn is split, so that each keeps its speaker; a turn longer than a chunk is a chunk by itself.
    """
    found: list[str] = []
    held: list[str] = []
    for turn in turns:
        if held and len("\n".join([*held, turn])) > CHUNK:
            found.append("\n".join(held))
            while held and len("\n".join(held)) > min(OVERLAP, CHUNK - len(turn) - 1):
                held.pop(0)
        held.append(turn)
    return [*found, "\n".join(held)] if held else found


# -- indexes


def _bm25() -> Callable[[list[str]], Scores]:
    library = _library("bm25s", "bm25")

    def index(texts: list[str]) -> Scores:
        found = library.BM25()
        found.index([terms(piece) for piece in texts], show_progress=False)

        def scores(query: str) -> list[float]:
            known = found.get_tokens_ids(terms(query))
            return [float(score) for score in found.get_scores_from_ids(known)] if known else [0.0] * len(texts)

        return scores

    return index


def terms(piece: str) -> list[str]:
    """The terms of BM25: words in lower case; for Chinese, characters and pairs of them, since most words are pairs.

    Example:

    ```python
    >>> terms("Ann 看见铜钟")
    ['ann', '看', '见', '铜', '钟', '看见', '见铜', '铜钟']
    ```
    """
    tokens = tokenize(piece)
    return tokens + [first + second for first, second in pairwise(tokens) if is_cjk(first) and is_cjk(second)]


def _embeddings(name: str) -> Callable[[list[str]], Scores]:
    model = _library("sentence_transformers", "embeddings").SentenceTransformer(name)

    def index(texts: list[str]) -> Scores:
        known = model.encode_document(texts, normalize_embeddings=True, show_progress_bar=False)

        def scores(query: str) -> list[float]:
            asked = model.encode_query(query, normalize_embeddings=True, show_progress_bar=False)
            return [float(score) for score in known @ asked]

        return scores

    return index


def _library(module: str, kind: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise missing_library(f"retrieval by {kind!r}", error, module=module) from error
