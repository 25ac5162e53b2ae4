"""Passages of the book for the actor: its text, what happens to the character, and conversations.

What would give the played scene away is held out: its plot, with text, summary and all conversations, and any other
passage that repeats a run of words of that plot, for neighbouring plots of a book share text. A plot that tells the
same event in other words is not recognised. All other plots take part, later ones too, as in CoSER. An actor is never
told another's experience or thoughts; the text and conversations may tell what its character has not heard.

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
"""Reads many languages, Chinese among them, and takes a whole chunk at once."""

HEARD = 3
"""Newest messages that make the query."""
CHUNK, OVERLAP = 1000, 200
"""Characters of a chunk, and how many of them the next one begins with."""
MOST = {"text": 1, "experience": 3, "conversation": 1}
"""Passages of each kind that an actor gets, most useful first."""
REPEATED = 8
"""Tokens (words, Chinese characters) in a row that are no chance: the same passage, told again. Of CoSER's King Lear,
plot 14 repeats 683 such runs of the text of plot 13, the lines of its conversation among them."""

_HEADINGS = {
    "en": {
        "text": "From the book",
        "experience": "What happens to {owner} elsewhere in the book",
        "conversation": "A conversation elsewhere in the book",
    },
    "zh": {"text": "书中原文", "experience": "{owner}在书中别处的经历", "conversation": "书中另一段对话"},
}

Scores = Callable[[str], Sequence[float]]
"""From a query to the score of each passage, in order."""


@dataclass(frozen=True)
class Passage:
    """A text of a book that can be looked up.

    Args:
        kind (`str`): `"text"`, `"experience"` or `"conversation"`.
        text (`str`): What an actor reads.
        matched (`str`): What queries are compared with. An experience is found by its plot's summary too, which is
            not shown: it tells what others know.
        plots (`frozenset[int]`): The numbers by which scenes may know its plot.
        chapter (`str`, *optional*): Where it stands.
        owner (`str`, *optional*): Of an experience: whose it is. Nobody else gets it.
    """

    kind: str
    text: str
    matched: str
    plots: frozenset[int]
    chapter: str = ""
    owner: str = ""

    def shown(self, language: str) -> str:
        """The passage under a heading that says what it is; layer tags in it are plain text."""
        heading = _HEADINGS[language][self.kind].format(owner=self.owner)
        place = f" ({self.chapter})" if self.chapter else ""
        return escape_tags(f"{heading}{place}:\n{self.text}")


@dataclass(frozen=True)
class _Shelf:
    """A book's passages with their index."""

    passages: list[Passage]
    scores: Scores


def open_memory(kind: str, books: Path | None, scenes: Sequence[Scene], *, model: str = EMBEDDER) -> Memory | None:
    """Opens the books of scenes, so that actors are given passages that may help.

    A book is read and indexed when one of its scenes first asks, and kept. What is found depends on scene, turns and
    speaker alone; of two passages with equal scores the one that stands first in the book counts.

    Args:
        kind (`str`): `"none"`, `"bm25"` (common words; of Chinese, characters and pairs of them) or `"embeddings"`
            (likeness of meaning).
        books (`Path`, *optional*): A CoSER book, or a folder of them, each named after its title:
            `King Lear.json` or `book_king_lear.json`; case and punctuation do not matter.
        scenes (`Sequence[Scene]`): All scenes that will be played, with their original conversations.
        model (`str`, *optional*, defaults to `"BAAI/bge-m3"`): For `"embeddings"`: a sentence-transformers model.

    Returns:
        `Callable` or `None`: For [`~her_hf.simulation.coser.play_scene`]; `None` for `"none"`. The newest 3 messages,
            as all see them, are the query (before the first turn the scenario). Found are up to 1 piece of text, 3
            experiences of the speaker and 1 piece of a conversation without thoughts, each with a score above 0.

    Raises:
        `ValueError`: If the kind is unknown or no books are named.
        `FileNotFoundError`: If the book of a scene is not there; the message names the file names that were tried.
        `ImportError`: If the package that the kind needs is not installed.
        `SceneError`: When a scene first asks, if its book cannot be read.

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
            raise ValueError(f"the scene {scene.key} is not among those the memory was opened for: name all scenes")
        found = shelf(scene.book)
        scores = found.scores(query_of(scene, turns))
        ranked = sorted((at for at in free(scene.key) if scores[at] > 0), key=lambda at: (-scores[at], at))
        mine = [passage for at in ranked if (passage := found.passages[at]).owner in ("", speaker)]
        best = [[passage for passage in mine if passage.kind == kind][:most] for kind, most in MOST.items()]
        return [passage.shown(scene.language) for passages in best for passage in passages]

    return look_up


def query_of(scene: Scene, turns: Sequence[Turn]) -> str:
    """The newest messages as all see them, those that show nothing left out; before the first, the scenario."""
    visible = [turn for turn in turns if any(View.OTHERS.shows(segment.layer) for segment in turn.segments)]
    return "\n".join(turn.render("coser", View.OTHERS) for turn in visible[-HEARD:]) or scene.scenario


def outside(scene: Scene, passages: Sequence[Passage]) -> list[int]:
    """Places of the passages that do not give the scene away; see the head of this module."""
    plot = scene.extra.get("plot") or {}
    told = [str(plot.get(field) or "") for field in ("text", "summary")] if isinstance(plot, dict) else []
    told += [segment.text for turn in scene.dialogue for segment in turn.segments]
    told += [passage.matched for passage in passages if scene.i_p in passage.plots]
    own = {run for piece in told for run in _runs(piece)}
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
        `FileNotFoundError`: If one is not there; the message names the books and the file names that were tried.
        `ValueError`: If two files are one book in two spellings.
    """
    if not books.exists():
        raise FileNotFoundError(f"{books} is not there: name a CoSER book or a folder of them")
    files = sorted(books.glob("*.json")) if books.is_dir() else [books]
    known: dict[str, Path] = {}
    titles = list(dict.fromkeys(scene.book for scene in scenes))
    wanted = {title_key(title) for title in titles}
    for file in files:
        key = title_key(title_of(file.name))
        if key in known and key in wanted:
            raise ValueError(f"{known[key]} and {file} are one book in two spellings: keep one of them")
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
    """A title without case and punctuation, which file names change."""
    return joint.join(tokenize(title))


def read_passages(file: Path) -> list[Passage]:
    """All that can be looked up in a CoSER book, in the order of the book.

    Raises:
        `SceneError`: If the file is no book or a field of it is wrong.
    """
    try:
        rows = [row for _, row in rows_of(file)]
        if len(rows) != 1 or not isinstance(rows[0], dict) or not isinstance(rows[0].get("plots"), list):
            raise SceneError("is no CoSER book: it must be one JSON object with a list of 'plots'.")
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
        said = [turn.render("coser", View.OTHERS) for turn in turns]
        found += [passage("conversation", chunk, chunk) for chunk in packed(said)]
    return found


def _numbers(place: int, plot: Row, people: Sequence[Row], conversations: Sequence[Row]) -> frozenset[int]:
    """What scenes may know the plot by: the numbers (`i_p`) that the reader of scenes gives, and any that is there."""
    entries = [plot, *people, *(entry for one in conversations for entry in (one, *entries_of(one)))]
    given = {found for entry in entries if (found := whole(entry.get("i_p"))) is not None}
    return frozenset(given | {plot_index(place, plot, one) for one in conversations} or {place})


def chunks(whole: str) -> list[str]:
    """A text in pieces of [`CHUNK`] characters, each beginning with the last [`OVERLAP`] of the one before."""
    whole = whole.strip()
    starts = range(0, max(len(whole) - OVERLAP, 1), CHUNK - OVERLAP)
    return [whole[start : start + CHUNK] for start in starts] if whole else []


def packed(turns: Sequence[str]) -> list[str]:
    """Turns in pieces of [`CHUNK`] characters at most, each beginning with the last turns of the one before, up to
    [`OVERLAP`]. No turn is cut, so that each keeps its speaker; one longer than a chunk is a piece of its own.
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
    """What BM25 counts: words in lower case; of Chinese, characters and pairs of them, as most words are pairs.

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
