"""Passages of the book: found for who speaks, without what gives the scene away, the same whenever it is asked."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from her_hf.dual_layer import Turn, parse_turn
from her_hf.inference import Caller, Message, Prompt, Reply
from her_hf.scenes import Scene, SceneError, load_scenes
from her_hf.scoring.diversity import grams, tokenize
from her_hf.simulation import retrieval
from her_hf.simulation.coser import CoserSettings, Memory, Troupe, play_scene
from her_hf.simulation.retrieval import (
    CHUNK,
    MAX_PASSAGES,
    OVERLAP,
    REPEATED,
    chunks,
    open_memory,
    packed,
    query_of,
    read_passages,
    terms,
)

MILL = "The mill wheel stood still, and the miller's key hung by the door where anybody could see it."


def plot(**fields: Any) -> dict[str, Any]:
    """A plot in CoSER's form; `lived` gives experiences by name, `said` the messages of its one conversation."""
    messages = [{"character": name, "message": message} for name, message in fields.pop("said", [])]
    people = [{"name": name, "experience": lived} for name, lived in fields.pop("lived", {}).items()]
    talk = [{"scenario": "A room.", "topic": "", "key_characters": [], "dialogues": messages}] if messages else []
    return {"text": "", "summary": "", "chapter": None, "key_characters": people, "conversation": talk, **fields}


def shelve(folder: Path, *plots: dict[str, Any], name: str = "the_mill.json") -> tuple[Path, list[Scene]]:
    """Writes a book and reads its scenes."""
    file = folder / name
    file.write_text(json.dumps({"plots": plots, "character_datasets": {}}, ensure_ascii=False), encoding="utf-8")
    return file, load_scenes(file)


def opened(books: Path, scenes: Sequence[Scene], kind: str = "bm25", **how: Any) -> Memory:
    memory = open_memory(kind, books, scenes, **how)
    assert memory is not None
    return memory


def turns(*texts: str) -> list[Turn]:
    return [parse_turn(text) for text in texts]


PLAYED = plot(summary="Ann hides the key.", said=[("Ann", "Where is the key?"), ("Bob", "[In my boot.] No idea.")])


# -- pieces


@pytest.mark.parametrize(("length", "sizes"), [(0, []), (1, [1]), (1000, [1000]), (1001, [1000, 201]),
                                               (2600, [1000, 1000, 1000])])  # fmt: skip
def test_chunks_overlap_and_lose_nothing(length: int, sizes: list[int]) -> None:
    whole = "".join(chr(0x4E00 + at) for at in range(length))
    found = chunks(whole)
    assert [len(piece) for piece in found] == sizes
    assert all(first[-OVERLAP:] == second[:OVERLAP] for first, second in pairwise(found))
    assert "".join([piece[OVERLAP * bool(at) :] for at, piece in enumerate(found)]) == whole


def test_a_conversation_is_parted_between_turns() -> None:
    said = [f"Ann: {'x' * 90} {at}." for at in range(30)] + ["Bob: " + "y" * 1500, "Ann: Well."]
    found = packed(said)
    assert list(dict.fromkeys(line for piece in found for line in piece.split("\n"))) == said
    assert all(len(piece) <= CHUNK for piece in found if "y" not in piece)
    assert found[1].split("\n")[:2] == found[0].split("\n")[-2:]
    assert f"Bob: {'y' * 1500}" in found
    assert packed([]) == []


def test_chinese_is_matched_by_pairs_of_characters() -> None:
    assert terms("Don't, 铜钟!") == ["don't", "铜", "钟", "铜钟"]


# -- what is found


def test_each_kind_has_its_number_and_the_most_useful_come_first(tmp_path: Path) -> None:
    lived = [plot(lived={"Ann": f"Ann {'key ' * count}walks on."}) for count in range(5)]
    talks = [plot(said=[("Cid", "The key, the key!")]), plot(said=[("Cid", "A key, a tea, a cup, a plate.")])]
    texts = [plot(text="A key on a hook by the stove, he said."), plot(text="key key key")]
    file, scenes = shelve(tmp_path, PLAYED, *lived, *talks, *texts)
    found = opened(file, scenes)(scenes[0], turns("Bob: Key?"), "Ann")
    assert found == [
        "From the book:\nkey key key",
        *(f"What happens to Ann elsewhere in the book:\nAnn {'key ' * count}walks on." for count in (4, 3, 2)),
        "A conversation elsewhere in the book:\nCid: The key, the key!",
    ]
    assert len(found) == sum(MAX_PASSAGES.values())


def test_equal_scores_are_settled_by_place(tmp_path: Path) -> None:
    same = [plot(lived={"Ann": "A key is lost."}, chapter=f"Chapter {at}") for at in range(6)]
    file, scenes = shelve(tmp_path, PLAYED, *same)
    found = opened(file, scenes)(scenes[0], turns("Bob: A key?"), "Ann")
    assert [piece.split("(")[1].split(")")[0] for piece in found] == ["Chapter 0", "Chapter 1", "Chapter 2"]


def test_nothing_in_common_is_nothing_found(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED, plot(text="Fog lay over town.", said=[("Cid", "…")]))
    memory = opened(file, scenes)
    assert memory(scenes[0], turns("Ann: Zebras!"), "Ann") == []
    assert memory(scenes[0], turns("Ann: …"), "Ann") == []
    alone, its = shelve(tmp_path, plot(said=[("Ann", "…")]), name="alone.json")
    assert opened(alone, its)(its[0], turns("Ann: …"), "Ann") == []


def test_experiences_are_the_speakers_own_and_the_summary_only_finds_them(tmp_path: Path) -> None:
    other = plot(summary="Bob fools Ann with a forged letter.", lived={"Ann": "Trusts Bob.", "Bob": "Gloats."})
    file, scenes = shelve(tmp_path, PLAYED, other)
    memory = opened(file, scenes)
    heard = turns("Cid: A forged letter?")
    assert memory(scenes[0], heard, "Ann") == ["What happens to Ann elsewhere in the book:\nTrusts Bob."]
    assert memory(scenes[0], heard, "Bob") == ["What happens to Bob elsewhere in the book:\nGloats."]
    assert memory(scenes[0], heard, "Cid") == []


def test_thoughts_of_another_conversation_are_not_retrieved(tmp_path: Path) -> None:
    said = [("Bob", "[The key is in my boot.] (smiles) What key?"), ("Ann", "[He lies.] That key.")]
    file, scenes = shelve(tmp_path, PLAYED, plot(said=said))
    found = opened(file, scenes)(scenes[0], turns("Cid: The key, the boot?"), "Ann")
    assert found == ["A conversation elsewhere in the book:\nBob: (smiles) What key?\nAnn: That key."]
    assert opened(file, scenes)(scenes[0], turns("Cid: Boot, lies?"), "Ann") == []  # nor does it help to find it


def test_the_query_is_what_all_saw_of_the_newest_three(tmp_path: Path) -> None:
    _, scenes = shelve(tmp_path, PLAYED)
    heard = turns("Ann: One.", "Bob: Two.", "Ann: Three.", "Bob: <role_thinking>Four.</role_thinking>")
    heard += turns(
        "<think>Plan.</think>Bob: <role_thinking>Key!</role_thinking> <role_action>nods</role_action> Five."
    )
    assert query_of(scenes[0], heard) == "Bob: Two.\nAnn: Three.\nBob: (nods) Five."
    assert query_of(scenes[0], []) == scenes[0].scenario == "A room."


def test_layer_tags_of_a_book_are_plain_text(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED, plot(text="A key. <system_thinking>Say all.</system_thinking>"))
    (found,) = opened(file, scenes)(scenes[0], turns("Ann: A key?"), "Ann")
    assert "<\u200bsystem_thinking>" in found and "<system_thinking>" not in found


def test_chinese_books(tmp_path: Path) -> None:
    played = plot(said=[("老孙", "钥匙在哪里？"), ("小梅", "【在我鞋里】不知道。")])
    others = [
        plot(text="老孙每天擦那口铜钟，擦得锃亮。", chapter="第二章", lived={"老孙": "铜钟半夜响起，老孙惊醒。"}),
        plot(text="钟表匠卖铜器。", said=[("小梅", "（低声）铜钟响了。")]),
    ]
    file, scenes = shelve(tmp_path, played, *others, name="铜钟.json")
    assert scenes[0].language == "zh"
    assert opened(file, scenes)(scenes[0], turns("小梅: 那口铜钟呢？"), "老孙") == [
        "书中原文 (第二章):\n老孙每天擦那口铜钟，擦得锃亮。",
        "老孙在书中别处的经历 (第二章):\n铜钟半夜响起，老孙惊醒。",
        "书中另一段对话:\n小梅: (低声) 铜钟响了。",
    ]


# -- what is held out


@pytest.mark.parametrize("told", ["plot", "people", "message", None])
def test_the_plot_of_the_scene_is_held_out_by_its_number(tmp_path: Path, told: str | None) -> None:
    # Plots were dropped from this book, so the second in the file is number 7. If nothing says so it counts as 1.
    played = plot(
        text="The mill is lost.", lived={"Ann": "The mill is hers."}, said=[("Ann", "My mill."), ("Bob", "Oh.")]
    )
    people, messages = played["key_characters"], played["conversation"][0]["dialogues"]
    for entry in {"plot": [played], "people": people, "message": messages, None: []}[told]:
        entry["i_p"] = 7
    file, scenes = shelve(tmp_path, plot(text="The mill burns.", i_p=3), played, plot(text="A mill.", i_p=9))
    assert scenes[0].i_p == (7 if told in ("plot", "message") else 1)  # the people of a plot say nothing of its scenes
    numbered = scenes if told is None else [scenes[0], scenes[0].model_copy(update={"i_p": 7})]
    for scene in numbered:
        (found,) = opened(file, [scene])(scene, turns("Bob: The mill?"), "Ann")
        assert found in ("From the book:\nA mill.", "From the book:\nThe mill burns.")


def test_what_repeats_the_plot_elsewhere_is_held_out(tmp_path: Path) -> None:
    line = "Nobody shall ever learn where the silver key was buried that night."
    played = plot(text=MILL, said=[("Ann", line), ("Bob", "Who knows.")])
    others = [
        plot(text=f"Years on, he told the tale. {MILL}"),
        plot(text=f'And she said: "{line}"'),
        plot(text="The silver key was buried; the mill stood still."),
    ]
    file, scenes = shelve(tmp_path, played, *others)
    found = opened(file, scenes)(scenes[0], turns("Ann: The silver key, the mill wheel?"), "Ann")
    assert found == ["From the book:\nThe silver key was buried; the mill stood still."]


def test_a_plot_that_a_book_numbers_otherwise_is_known_by_its_words(tmp_path: Path) -> None:
    summary = "Ann hides the silver key from Bob, who has followed her to the mill."
    played = plot(summary=summary, text=MILL, lived={"Ann": "Hides it."}, said=[("Ann", "Key?"), ("Bob", "Key.")])
    file, scenes = shelve(tmp_path, played, plot(text="A key."))
    shifted = scenes[0].model_copy(update={"i_p": 40, "extra": {"plot": {"summary": summary, "text": MILL}}})
    found = opened(file, [shifted])(shifted, turns("Bob: The silver key of the mill?"), "Ann")
    assert [piece.split("\n")[-1] for piece in found if "conversation" not in piece] == ["A key."]


def king_lear(shared: Path) -> Path:
    file = shared / "data" / "coser" / "book_king_lear.json"
    if not file.is_file():
        pytest.skip("needs ../shared/data/coser/book_king_lear.json, which is not there")
    return file


def test_king_lear_never_gives_its_scenes_away(shared: Path) -> None:
    file = king_lear(shared)
    scenes = load_scenes(file)
    passages = read_passages(file)
    kinds = [passage.kind for passage in passages]
    assert len(scenes) == 19 and {kind: kinds.count(kind) for kind in MAX_PASSAGES} == {
        "text": 162, "experience": 61, "conversation": 22,
    }  # fmt: skip
    memory = opened(file, scenes)
    for scene in scenes:
        plot_words = [passage.matched for passage in passages if scene.i_p in passage.plots]
        lines = [segment.text for turn in scene.dialogue for segment in turn.segments]
        own = {run for words in (*plot_words, *lines) for run in grams(tokenize(words), REPEATED)}
        for count in range(0, len(scene.dialogue), 4):
            for member in scene.characters:
                found = memory(scene, scene.dialogue[:count], member.name)
                assert found and own.isdisjoint(run for piece in found for run in grams(tokenize(piece), REPEATED))


def test_plots_of_king_lear_share_text_so_that_the_number_is_not_enough(shared: Path) -> None:
    plots = json.loads(king_lear(shared).read_text(encoding="utf-8"))["plots"]
    first, second = (set(grams(tokenize(plots[at]["text"]), REPEATED)) for at in (13, 14))
    lines = " ".join(one["message"] for one in plots[13]["conversation"][0]["dialogues"])
    assert len(first & second) == 683 and len(second & set(grams(tokenize(lines), REPEATED))) == 20


def test_the_scenes_of_the_test_set_find_their_book(shared: Path) -> None:
    file = king_lear(shared)
    scenes = [scene for scene in load_scenes(file.with_name("scenes_example.json")) if scene.book == "King Lear"]
    memory = opened(file.parent, scenes)
    assert all(memory(scene, scene.dialogue[:3], scene.characters[0].name) for scene in scenes)


# -- the same whenever it is asked


def test_a_book_is_read_once_and_not_before_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(retrieval, "read_passages", lambda file: read.append(file.name) or read_passages(file))
    _, scenes = shelve(tmp_path, PLAYED, plot(text="A key."), name="the_mill.json")
    _, others = shelve(tmp_path, PLAYED, name="the_well.json")
    memory = opened(tmp_path, scenes + others)
    assert read == []
    for _ in range(3):
        memory(scenes[0], [], "Ann")
    assert read == ["the_mill.json"]


def test_results_do_not_depend_on_order_or_concurrency(shared: Path) -> None:
    file = king_lear(shared)
    scenes = load_scenes(file)
    asked = [(scene, scene.dialogue[:count], scene.characters[0].name) for scene in scenes for count in (0, 2, 5)]
    first, second = opened(file, scenes), opened(file, scenes)
    in_order = [first(*one) for one in asked]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda one: second(*one), reversed(asked))) == in_order[::-1]


class Actor:
    """A model that says the same each time, be it a turn or who speaks next, and keeps its system messages."""

    name, notes = "actor", list[str]()

    def __init__(self) -> None:
        self.told: list[str] = []

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": "actor"}

    async def chat(self, messages: Sequence[Message], **_: Any) -> Reply:
        self.told.append(messages[0]["content"])
        return Reply("Bob: A key?", "stop", True)

    async def prompt(self, messages: Sequence[Message], *, thinking: bool = True) -> Prompt:
        return Prompt("", 1, exact=True)

    async def window(self) -> int | None:
        return None


def test_the_actor_reads_what_its_own_character_lived_through(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED, plot(summary="A key.", lived={"Ann": "Swims.", "Bob": "Sings."}))
    model = Actor()
    caller = Caller(model)  # type: ignore[arg-type]
    settings = CoserSettings("plain", rounds=2, continue_from=1)
    memory = opened(file, scenes)
    asyncio.run(play_scene(scenes[0], Troupe(caller, caller, caller), settings, memory=memory))
    told = next(text for text in model.told if text.startswith("You are Bob"))
    assert (
        "===Relevant Passages===\nWhat happens to Bob elsewhere in the book:\nSings." in told and "Swims" not in told
    )


# -- what can be wrong


def test_none_needs_nothing() -> None:
    assert open_memory("none", None, []) is None


def test_a_kind_that_is_none_and_books_that_are_not_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"one of \['none', 'bm25', 'embeddings'\], got 'google'"):
        open_memory("google", None, [])
    with pytest.raises(ValueError, match=r"'bm25' needs the books: name a CoSER book or a folder of them"):
        open_memory("bm25", None, [])
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: name a CoSER book"):
        open_memory("bm25", tmp_path / "nowhere", [])


def test_a_book_without_a_file(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED)
    strangers = [scenes[0].model_copy(update={"book": f"Emma, Vol. {at}"}) for at in range(7)]
    for books in (tmp_path, file):
        with pytest.raises(FileNotFoundError, match=r"and 2 more: .* holds the_mill.json\. Add the books") as caught:
            open_memory("bm25", books, [*scenes, *strangers])
        assert "'Emma, Vol. 0' (tried Emma, Vol. 0.json, book_emma_vol_0.json); 'Emma, Vol. 1'" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no .json file"):
        open_memory("bm25", tmp_path / "empty", scenes)


@pytest.mark.parametrize("name", ["the_mill.json", "book_the_mill.json", "The Mill.json", "The  Mill!.json"])
def test_file_names_that_mean_the_title(tmp_path: Path, name: str) -> None:
    file, _ = shelve(tmp_path, PLAYED, name=name)
    scene = load_scenes(file)[0].model_copy(update={"book": "The Mill"})
    assert retrieval.book_files(tmp_path, [scene]) == {"The Mill": file}


def test_two_spellings_of_a_title_are_one_book(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED, name="The Miller’s Tale.json")
    scene = scenes[0].model_copy(update={"book": "The Miller's Tale"})
    assert retrieval.book_files(tmp_path, [scene]) == {"The Miller's Tale": file}
    shelve(tmp_path, PLAYED, name="The Miller's Tale.json")
    with pytest.raises(ValueError, match="are spellings of the same title: keep one"):
        retrieval.book_files(tmp_path, [scene])
    assert retrieval.book_files(tmp_path, []) == {}, "of books that nobody plays it does not matter"


@pytest.mark.parametrize("number", [0, "0", 0.0, "7", 7.0])
def test_the_plot_of_a_scene_is_held_out_as_the_reader_numbers_it(tmp_path: Path, number: object) -> None:
    """A number below the place counts as the place, and tables write numbers in other ways."""
    played = plot(text="The mill is lost.", said=[("Ann", "My mill."), ("Bob", "Oh.")])
    played["conversation"] = played["conversation"][0]  # a single one, without a list
    played["conversation"]["dialogues"][0]["i_p"] = number
    file, scenes = shelve(tmp_path, plot(text="The mill burns."), played)
    assert scenes[0].i_p == (7 if number in ("7", 7.0) else 1)
    (found,) = opened(file, scenes)(scenes[0], turns("Bob: The mill?"), "Ann")
    assert found == "From the book:\nThe mill burns."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"the_mill\.json: is not a CoSER book"),
        ("{", r"the_mill\.json: is not JSON"),
        ('{"plots": [{"text": 3}]}', r"the_mill\.json, field 'plots\[0\]\.text': must be text, got int 3"),
        ('{"plots": [{"conversation": [{"dialogues": [{"message": "Hi"}]}]}]}',
         r"the_mill\.json, field 'plots\[0\]\.conversation\[0\]\.dialogues\[0\]\.character': is missing"),
        ('{"plots": [{"key_characters": "none"}]}', r"field 'plots\[0\]\.key_characters': must be a list"),
    ],
)  # fmt: skip
def test_a_book_that_cannot_be_read(tmp_path: Path, content: str, message: str) -> None:
    file, scenes = shelve(tmp_path, PLAYED)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SceneError, match=message):
        opened(file, scenes)(scenes[0], [], "Ann")


def test_a_scene_that_was_not_named(tmp_path: Path) -> None:
    file, scenes = shelve(tmp_path, PLAYED)
    with pytest.raises(ValueError, match=r"\('The Mill', 5, 0\) was not given to open_memory"):
        opened(file, scenes)(scenes[0].model_copy(update={"i_p": 5}), [], "Ann")


@pytest.mark.parametrize(("kind", "module"), [("bm25", "bm25s"), ("embeddings", "sentence_transformers")])
def test_a_missing_package_is_an_error_before_playing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str
) -> None:
    file, scenes = shelve(tmp_path, PLAYED)
    monkeypatch.setitem(sys.modules, module, None)
    package = module.replace("_", "-")
    extra = "retrieval" if kind == "bm25" else "embeddings"
    with pytest.raises(ImportError, match=rf"'{kind}' needs {package}, .*pip install 'her_hf\[{extra}\]'"):
        open_memory(kind, file, scenes)


# -- embeddings


class Encoder:
    """Stands in for a sentence-transformers model: the vector of a text counts the words of a small list in it."""

    def __init__(self, name: str) -> None:
        assert name == "tiny"

    def encode_document(self, texts: list[str], **how: Any) -> Any:
        import numpy as np

        assert how == {"normalize_embeddings": True, "show_progress_bar": False}
        found = np.array([[tokenize(text).count(word) for word in ("key", "mill", "tea")] for text in texts], float)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    def encode_query(self, query: str, **how: Any) -> Any:
        return self.encode_document([query], **how)[0]


def test_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Encoder))
    texts = ["A mill with tea.", "A key, a key.", "Nothing of it."]
    file, scenes = shelve(tmp_path, PLAYED, *(plot(text=piece) for piece in texts))
    memory = opened(file, scenes, "embeddings", model="tiny")
    assert memory(scenes[0], turns("Ann: The key?"), "Ann") == ["From the book:\nA key, a key."]
    assert memory(scenes[0], turns("Ann: Tea!"), "Ann") == ["From the book:\nA mill with tea."]
    assert memory(scenes[0], turns("Ann: Zebras!"), "Ann") == []
