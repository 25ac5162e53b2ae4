"""Readers and `load_scenes`: every kind of source, every shape of a row, and what bad ones say."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.scenes import Character, Scene, SceneError, coser_row, her_row, load_conversations, load_scenes, scenes_in
from her_hf.scenes.fields import MAX_DEPTH
from her_hf.scenes.names import title_key
from her_hf.scenes.readers.coser_book import title_of
from tests.support.paths import FIXTURES

MINI = FIXTURES / "scenes" / "mini.jsonl"


def coser_data(**changes: Any) -> dict[str, Any]:
    row = {
        "book": "The Mill",
        "i_p": 3,
        "i_c": 0,
        "tag": "id",
        "topic": "Tea",
        "scenario": "A mill at dusk.",
        "key_characters": [{"name": "Ann", "thought": "I must leave."}, {"name": "Silent Sid", "motivation": "Hush."}],
        "character_profiles": {"Ann": "A miller.", "Bob Jr.": ""},
        "plot": {
            "chapter": "II",
            "key_characters": [{"name": "Ann", "description": "Owner.", "summary": "She leaves."}],
        },
        "dialogues": [
            {"character": "Ann", "message": "[Not now.] (pours) Tea?"},
            {"character": "Environment", "message": "(A knock.)"},
            {"character": "Bob Jr.", "message": "Please.", "note": 1},
        ],
        "weight": 1.5,
    }
    row.update(changes)
    return {key: value for key, value in row.items() if value is not ...}


def her_data(**changes: Any) -> dict[str, Any]:
    row = {
        "book_name": "The Mill",
        "i_p": 3,
        "i_c": 1,
        "scenario": "A mill.",
        "character_datasets": [{"character": "Ann", "character_profile": "A miller."}],
        "dialogues": [
            {"character": "Ann", "origin_id": [0, 1], "message": "Tea?", "standard_format": "Tea?"},
            {"character": "Bob", "origin_id": [2], "message": "[Ah.] Please."},
        ],
    }
    row.update(changes)
    return {key: value for key, value in row.items() if value is not ...}


def one(row: dict[str, Any]) -> Scene:
    scenes, bad = scenes_in(row)
    assert len(scenes) == 1 and not bad
    return scenes[0]


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


# -- CoSER test scenes


def test_coser_reads_thought_and_motivation_and_everybody() -> None:
    scene = one(coser_data())
    assert [member.name for member in scene.cast] == ["Ann", "Silent Sid", "Environment", "Bob Jr."]
    ann, sid, _, bob = scene.cast
    assert (ann.motivation, ann.profile, ann.description, ann.experience) == (
        "I must leave.",
        "A miller.",
        "Owner.",
        "She leaves.",
    )
    assert sid.motivation == "Hush." and bob.profile == ""
    assert [turn.pattern for turn in scene.dialogue] == ["TAS", "S", "S"]
    assert scene.dialogue[1].segments[0].text == "(A knock.)"
    assert (scene.key, scene.tag, scene.topic, scene.chapter) == (("The Mill", 3, 0), "id", "Tea", "II")
    assert scene.extra["weight"] == 1.5 and scene.raw_messages[2]["note"] == 1


@pytest.mark.parametrize("missing", ["character_profiles", "key_characters", "plot", "topic", "tag"])
def test_coser_rows_may_lack_these(missing: str) -> None:
    scene = one(coser_data(**{missing: ...}))
    assert {"Ann", "Bob Jr.", "Environment"} <= {member.name for member in scene.cast}
    assert one(coser_row(scene)).cast == scene.cast


def test_names_of_profiles_are_tidied(tmp_path: Path) -> None:
    profiles = {"": "nobody", "  ": "nobody", " Ann ": "A miller.", "Zoe\n": "A smith."}
    scene = load_scenes(write(tmp_path / "a.json", [coser_data(character_profiles=profiles)]))[0]
    assert [member.name for member in scene.cast] == ["Ann", "Silent Sid", "Environment", "Bob Jr.", "Zoe"]
    assert (scene.member("Ann").profile, scene.member("Zoe").profile) == ("A miller.", "A smith.")
    known = {name: {"profile": text} for name, text in profiles.items()}
    assert load_scenes(write(tmp_path / "b.json", book(character_datasets=known)))[0].cast[0].profile == "A miller."
    entries = {name: {"character_profile": text} for name, text in profiles.items()}
    assert [member.name for member in one(her_data(character_datasets=entries)).cast] == ["Ann", "Bob", "Zoe"]


@pytest.mark.parametrize(
    ("language", "scenario", "said", "expected"),
    [(..., "A mill.", "Tea?", "en"), (..., "傍晚的磨坊。", "喝茶吗？", "zh"), ("Chinese", "A mill.", "Tea?", "zh")],
)
def test_language_is_given_or_guessed(language: Any, scenario: str, said: str, expected: str) -> None:
    row = coser_data(language=language, scenario=scenario, dialogues=[{"character": "Ann", "message": said}])
    scene = one(row)
    assert scene.language == expected
    assert one(coser_row(scene)).language == expected


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"i_p": ..., "plot": {"i_p": 70}}, (70, 0)),
        ({"i_p": None, "plot": {"i_p": "70"}}, (70, 0)),
        ({"i_p": ..., "plot": '{"i_p": 70.0}'}, (70, 0)),
        ({"i_p": 3, "plot": {"i_p": 70}}, (3, 0)),
        ({"i_p": 3.0, "i_c": "2"}, (3, 2)),
        ({"i_p": " 3.0 ", "i_c": 1e3}, (3, 1000)),
    ],
)
def test_numbers_of_scenes_as_tables_write_them(changes: dict[str, Any], key: tuple[int, int]) -> None:
    scene = one(coser_data(**changes))
    assert scene.key == ("The Mill", *key)
    assert one(coser_row(scene)).key == scene.key


def test_numbers_of_messages_as_tables_write_them() -> None:
    row = her_data()
    row["dialogues"][0]["origin_id"], row["dialogues"][1]["origin_id"] = [0.0, "1"], "2"
    assert [turn.origin_id for turn in one(row).dialogue] == [(0, 1), (2,)]


def test_spellings_of_a_name_are_one_member() -> None:
    said = [("Mr  Bell", "a"), ("Ann", "b"), ("mr bell", "[c]"), ("ENVIRONMENT", "(d)"), ("ann\u00a0", "e")]
    row = coser_data(
        key_characters=[
            {"name": "Mr\tBell", "thought": "T."},
            {"name": "MR BELL", "thought": "U.", "background": "B."},
        ],
        character_profiles={" mr bell ": "A porter."},
        plot={"key_characters": [{"name": "Mr Bell\n", "description": "Tall."}]},
        dialogues=[{"character": name, "message": text} for name, text in said],
    )
    scene = one(row)
    assert [member.name for member in scene.cast] == ["Mr Bell", "Ann", ENVIRONMENT]
    bell = scene.cast[0]
    assert (bell.motivation, bell.background, bell.profile, bell.description) == ("T.", "B.", "A porter.", "Tall.")
    assert [(turn.name, turn.pattern) for turn in scene.dialogue] == [
        *(("Mr Bell", "S"), ("Ann", "S"), ("Mr Bell", "T"), (ENVIRONMENT, "S"), ("Ann", "S"))
    ]
    assert coser_row(scene)["dialogues"] == row["dialogues"], "as it was read"
    assert one(coser_row(scene)) == scene
    again = one(her_row(scene))
    assert (again.cast, again.dialogue) == (scene.cast, scene.dialogue)


def test_names_of_her_rows_are_one_member_too() -> None:
    row = her_data(
        character_datasets={"ann": {"character_profile": "A miller."}},
        training_samples={"ANN": [{"role": "assistant", "origin_id": [0, 1], "sys_thinking_revised": "plan"}]},
    )
    scene = one(row)
    assert [member.name for member in scene.cast] == ["Ann", "Bob"] and scene.cast[0].profile == "A miller."
    assert scene.dialogue[0].system_thinking == "plan"


def test_brackets_of_chinese_text_are_read_in_coser_notation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's part: it hands every message to the parser in CoSER notation, whatever brackets it has."""
    read: list[tuple[str, str]] = []

    def note(text: str, speaker: str, *, notation: str, origin_id: tuple[int, ...]) -> Any:
        read.append((text, notation))
        return Turn(speaker)

    monkeypatch.setattr("her_hf.scenes.readers.coser.read_turn", note)
    row = coser_data(dialogues=[{"character": "小夜", "message": "【迟了】（点头）坐。"}])
    one(row)
    one(book(plots=[{"conversation": [{"scenario": "x", "dialogues": row["dialogues"]}]}]))
    assert read == [("【迟了】（点头）坐。", "coser")] * 2


# -- HER rows


def test_her_row_of_the_flat_kind() -> None:
    scene = one(her_data())
    assert [turn.origin_id for turn in scene.dialogue] == [(0, 1), (2,)]
    assert [turn.pattern for turn in scene.dialogue] == ["S", "TS"]
    assert scene.member("Ann").profile == "A miller."
    assert [member.name for member in scene.cast] == ["Ann", "Bob"]


@pytest.mark.parametrize(
    "datasets",
    [
        {"Ann": {"character_profile": "A miller.", "background": "Old."}, "Bob": None},
        [{"character": "Ann", "character_profile": "A miller.", "background": "Old."}],
        json.dumps({"Ann": {"character_profile": "A miller.", "background": "Old."}}),
        json.dumps([{"character": "Ann", "character_profile": "A miller.", "background": "Old."}]),
    ],
)
def test_character_datasets_in_every_shape(datasets: Any) -> None:
    ann = one(her_data(character_datasets=datasets)).member("Ann")
    assert (ann.profile, ann.background) == ("A miller.", "Old.")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"sys_thinking_revised": "new", "sys_thinking_original": "old"}, "new"),
        ({"sys_thinking_revised": "", "sys_thinking_original": "old"}, "old"),
        ({"sys_thinking_original": "old", "sys_thinking": "loose"}, "old"),
        ({"sys_thinking": "loose"}, "loose"),
        ({"sys_thinking_revised": None}, None),
        ({}, None),
        ({"standard_format": "<system_thinking>inline</system_thinking>Tea?"}, "inline"),
        ({"sys_thinking_revised": "<system_thinking>\nnew\n</system_thinking>"}, "new"),
        ({"sys_thinking_original": " <think>old</think>\n"}, "old"),
        ({"sys_thinking_revised": "<think></think>", "sys_thinking_original": "old"}, "old"),
        ({"sys_thinking": "<think>a</think> b"}, "<think>a</think> b"),
        ({"sys_thinking": "<think>a</think><think>b</think>"}, "<think>a</think><think>b</think>"),
        ({"sys_thinking": "<b>a</b>"}, "<b>a</b>"),
    ],
)
def test_the_best_system_thinking_counts(message: dict[str, Any], expected: str | None) -> None:
    entry = {"character": "Ann", "origin_id": [0], "standard_format": "Tea?", **message}
    assert one(her_data(dialogues=[entry])).dialogue[0].system_thinking == expected


def test_samples_are_joined_by_the_whole_origin_id() -> None:
    samples = {
        "Ann": [
            {"role": "system", "content": "…"},
            {"role": "assistant", "content": "…", "origin_id": [0], "sys_thinking_revised": "of the first alone"},
            {"role": "assistant", "content": "…", "origin_id": [0, 1], "sys_thinking_revised": "of both"},
        ]
    }
    assert one(her_data(training_samples=samples)).dialogue[0].system_thinking == "of both"
    del samples["Ann"][2]
    assert one(her_data(training_samples=samples)).dialogue[0].system_thinking is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"enhanced_standard_format": "<role_thinking>Hm.</role_thinking> Tea?"}, "TS"),
        ({"enhanced_speech": "<role_action>pours</role_action> Tea?"}, "AS"),
        ({"enhanced_standard_format": ""}, "S"),
    ],
)
def test_improved_speech_is_preferred(changes: dict[str, str], expected: str) -> None:
    row = her_data()
    row["dialogues"][0].update(changes)
    assert one(row).dialogue[0].pattern == expected


@pytest.mark.parametrize(("origin", "expected"), [([0, 1], "TS"), ([0], "S"), ([1, 0], "S")])
def test_enhanced_dialogues_are_joined_by_the_whole_origin_id(origin: list[int], expected: str) -> None:
    improved = {
        "character": "Ann",
        "origin_id": origin,
        "enhanced_role_think": "<role_thinking>Hm.</role_thinking> Tea?",
    }
    assert one(her_data(enhanced_dialogues=[improved])).dialogue[0].pattern == expected


def test_completed_settings_are_preferred_and_originals_kept() -> None:
    entry = {
        "character_profile": "old",
        "character_profile_enriched": "new",
        "background": "kept",
        "background_enriched": "",
    }
    row = her_data(scenario_enriched="A mill, burning.", character_datasets={"Ann": entry})
    scene = one(row)
    assert scene.scenario == "A mill, burning."
    assert (scene.member("Ann").profile, scene.member("Ann").background) == ("new", "kept")
    again = her_row(scene)
    assert (again["scenario"], again["scenario_enriched"]) == ("A mill.", "A mill, burning.")
    assert again["character_datasets"] == row["character_datasets"]


def test_her_row_of_the_nested_kind() -> None:
    flat = her_data()
    conversation = {key: flat[key] for key in ("scenario", "dialogues")}
    row = {
        "book_name": "The Mill",
        "trace_id_book_chapter": "mill_II",
        "i_p": 7,
        "chapter": "II",
        "text": "It was dusk.",
        "key_characters": [{"name": "Ann", "description": "Owner."}],
        "conversation": [conversation, {**conversation, "scenario": "Night."}],
        "character_datasets": {"Ann": {"character_profile": "A miller."}},
        "training_samples": {
            "Ann": [{"role": "assistant", "origin_id": [0, 1], "sys_thinking_revised": "plan", "content": "Tea?"}]
        },
    }
    scenes, bad = scenes_in(row)
    assert not bad
    assert [scene.key for scene in scenes] == [("The Mill", 7, 0), ("The Mill", 7, 1)]
    assert [scene.scenario for scene in scenes] == ["A mill.", "Night."]
    for scene in scenes:
        assert scene.dialogue[0].system_thinking == "plan" and scene.chapter == "II"
        assert scene.member("Ann").profile == "A miller."
        assert scene.extra["plot"]["text"] == "It was dusk."
        again = one(her_row(scene))
        assert (again.key, again.cast, again.dialogue) == (scene.key, scene.cast, scene.dialogue)
        assert again.extra["plot"] == scene.extra["plot"]


def test_environment_of_her_rows_is_speech() -> None:
    entry = {
        "character": ENVIRONMENT,
        "origin_id": [0],
        "message": "(Rain)",
        "standard_format": "<role_action>Rain</role_action>",
    }
    scene = one(
        her_data(dialogues=[entry, {"character": ENVIRONMENT, "standard_format": "<role_action>Wind</role_action>"}])
    )
    assert [(segment.layer.letter, segment.text) for segment in scene.dialogue[0].segments] == [("S", "(Rain) Wind")]


# -- books


def book(**changes: Any) -> dict[str, Any]:
    said = [{"character": "Ann", "message": "Tea?"}]
    row = {
        "plots": [
            {"summary": "s", "key_characters": [], "chapter": "None", "conversation": []},
            {
                "text": "t",
                "key_characters": [{"name": "Ann", "description": "Owner.", "experience": "Leaves."}],
                "chapter": "II",
                "conversation": [
                    {
                        "scenario": "A mill.",
                        "topic": "x",
                        "key_characters": [{"name": "Ann", "motivation": "Go."}],
                        "dialogues": said,
                    },
                    {
                        "scenario": "Later.",
                        "topic": "y",
                        "key_characters": [],
                        "dialogues": [{**said[0], "i_p": 9, "i_c": 4}],
                    },
                ],
            },
        ],
        "character_datasets": {"Ann": {"profile": "A miller.", "plots": [], "utterances": []}},
        "split_plot_index": 1,
    }
    row.update(changes)
    return row


def test_book_gives_its_conversations(tmp_path: Path) -> None:
    scenes = load_scenes(write(tmp_path / "the_old_mill.json", book()))
    assert [scene.key for scene in scenes] == [("The Old Mill", 1, 0), ("The Old Mill", 9, 4)]
    ann = scenes[0].member("Ann")
    assert (ann.profile, ann.motivation, ann.description) == ("A miller.", "Go.", "Owner.")
    assert scenes[0].chapter == "II" and scenes[0].extra["split_plot_index"] == 1
    assert scenes[0].extra["plot"]["text"] == "t" and "conversation" not in scenes[0].extra["plot"]
    assert load_scenes(write(tmp_path / "x.json", book(book="Named")))[0].book == "Named"


def said(*numbers: Any, **more: Any) -> dict[str, Any]:
    """A conversation whose messages give these `i_p` (none: no number)."""
    lines = [{"character": "Ann", "message": "Tea?", **({} if n is None else {"i_p": n})} for n in numbers or [None]]
    return {"scenario": "A mill.", "dialogues": lines, **more}


@pytest.mark.parametrize(
    ("plots", "keys"),
    [
        ([[said(0)], [said()], [said(1)]], [(0, 0), (1, 0), (2, 0)]),  # dropped, and numbered anew in part
        ([[said(4)], [said(5)], [said()]], [(4, 0), (5, 0), (2, 0)]),  # plots dropped before
        ([[said("4")], [said(5.0)]], [(4, 0), (5, 0)]),
        ([[said(1)], [said()]], [(1, 0), (1, 1)]),  # a number that is another plot's place
        ([[said(i_c=3), said(i_c=3), said(i_c=0)]], [(0, 3), (0, 4), (0, 2)]),
        ([[said(None, 7)]], [(7, 0)]),
    ],
)
def test_no_two_scenes_of_a_book_share_a_key(plots: list[list[dict[str, Any]]], keys: list[tuple[int, int]]) -> None:
    scenes, bad = scenes_in(book(book="The Mill", plots=[{"conversation": found} for found in plots]))
    assert not bad and [scene.key for scene in scenes] == [("The Mill", *key) for key in keys]


@pytest.mark.parametrize("single", [said(), json.dumps(said())])
def test_a_single_conversation_may_stand_without_a_list(single: Any) -> None:
    scenes, bad = scenes_in(book(plots=[{"conversation": single}]))
    assert not bad and [scene.scenario for scene in scenes] == ["A mill."]


def test_bad_conversation_of_a_book_is_named(tmp_path: Path) -> None:
    bad = book()
    bad["plots"][1]["conversation"][0]["dialogues"][0]["message"] = 5
    with pytest.raises(
        SceneError, match=r"mill\.json, line 1, field 'plots\[1\]\.conversation\[0\]\.dialogues\[0\]\.message'"
    ):
        load_scenes(write(tmp_path / "mill.json", bad))


def test_books_without_conversations(tmp_path: Path) -> None:
    silent = book(plots=[{"summary": "s", "conversation": []}])
    path = write(tmp_path / "silent.json", silent)
    for source in (path, tmp_path):
        with pytest.raises(SceneError, match="has no conversations"):
            load_scenes(source)
    write(tmp_path / "the_old_mill.json", book())
    assert {scene.book for scene in load_scenes(tmp_path)} == {"The Old Mill"}


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("a/book_king_lear.json", "King Lear"),
        ("Moby-Dick.json", "Moby-Dick"),
        ("The Wise Man’s Fear.json", "The Wise Man’s Fear"),
    ],
)
def test_titles_of_books_without_one(source: str, title: str) -> None:
    assert title_of(source) == title


def test_real_book(shared: Path) -> None:
    scenes = load_scenes(shared / "data/coser/book_king_lear.json")
    raw = json.loads((shared / "data/coser/book_king_lear.json").read_text(encoding="utf-8"))
    said = [c["dialogues"] for plot in raw["plots"] for c in plot["conversation"]]
    assert len(scenes) == len(said) == 19
    assert [scene.raw_messages for scene in scenes] == said
    assert all(
        member.profile for scene in scenes for member in scene.characters if member.name in raw["character_datasets"]
    )


# -- conversations


def test_chat_samples(shared: Path) -> None:
    samples = load_conversations(shared / "data/coser/sft_sharegpt.json")
    assert len(samples) == 434
    assert {message["role"] for sample in samples for message in sample} == {"system", "user", "assistant"}
    assert all(sample[0]["role"] == "system" for sample in samples)
    with pytest.raises(SceneError, match="load_conversations"):
        load_scenes(shared / "data/coser/sft_sharegpt.json")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"conversations": []}, "at least one"),
        ({"conversations": [{"from": "ghost", "value": "x"}]}, r"'conversations\[0\]\.from': must be one of"),
        ({"messages": [{"role": "user", "content": None}]}, r"'messages\[0\]\.content': must be text"),
        ({"book": "x"}, "is not a conversation: it has .*supported are `messages`"),
    ],
)
def test_bad_chat_samples(tmp_path: Path, row: dict[str, Any], match: str) -> None:
    with pytest.raises(SceneError, match=match):
        load_conversations(write(tmp_path / "x.json", [row]))


# -- bad rows


@pytest.mark.parametrize(
    ("row", "field", "match"),
    [
        (coser_data(book=...), "book", "is missing; the row has"),
        (coser_data(book="  "), "book", "is empty"),
        (coser_data(book=7), "book", "must be text, got int 7"),
        (coser_data(i_p=...), "i_p", "is missing"),
        (coser_data(i_p="3b"), "i_p", "must be a whole number, got str '3b'"),
        (coser_data(i_p=3.5), "i_p", "must be a whole number, got float 3.5"),
        (coser_data(i_p=..., plot={"i_p": "x"}), "plot.i_p", "must be a whole number, got str 'x'"),
        (coser_data(i_c=True), "i_c", "must be a whole number, got bool"),
        (coser_data(scenario=...), "scenario", "is missing"),
        (coser_data(dialogues=...), "dialogues", "is missing"),
        (coser_data(dialogues=[]), "dialogues", "is empty"),
        (coser_data(dialogues={"a": 1}), "dialogues", "must be a list"),
        (coser_data(dialogues="no json"), "dialogues", "JSON text"),
        (coser_data(dialogues=["hi"]), "dialogues[0]", "must be a dict"),
        (coser_data(dialogues=[{"message": "hi"}]), "dialogues[0].character", "is missing"),
        (coser_data(dialogues=[{"character": "Ann"}]), "dialogues[0].message", "must be text, got NoneType"),
        (coser_data(character_profiles=[]), "character_profiles", "must be a dict"),
        (coser_data(character_profiles={"Ann": 1}), "character_profiles.Ann", "must be text"),
        (coser_data(key_characters=[{"name": 1}]), "key_characters[0].name", "must be text"),
        (coser_data(language="fr"), "language", "'en' or 'zh', got 'fr'"),
        (her_data(book_name=...), "book_name", "is missing"),
        (her_data(i_c=...), "i_c", "is missing"),
        (her_data(scenario=""), "scenario", "missing or empty"),
        (her_data(dialogues=[{"character": "Ann"}]), "dialogues[0].message", "none of"),
        (her_data(dialogues=[{"character": "Ann", "message": "x", "origin_id": "a"}]), "dialogues[0].origin_id", ""),
        (her_data(dialogues=[{"character": "Ann", "message": "x", "origin_id": [.5]}]), "dialogues[0].origin_id", ""),
        (her_data(character_datasets=[3]), "character_datasets[0]", "must be a dict"),
        ({"cast": [{"name": "Ann"}], "dialogue": [], "book": 3}, "book", "valid string"),
        ({"cast": [{"name": "Ann"}], "dialogue": [{"name": "Zoe"}], "book": "x"}, "", "not in the cast"),
        (coser_data(scenario="A \ud83d mill."), "scenario", "half a character, '\\ud83d' at position 2"),
        (coser_data(weight=[{"x": "\ude00"}]), "weight[0].x", "half a character"),
        (coser_data(character_profiles={"\ud83d": "x"}), "character_profiles", "half a character"),
        (her_data(dialogues=[{"character": "Ann", "message": "\ud83d hi"}]), "dialogues[0].message", "half"),
        ({"cast": [{"name": "\ud83d"}], "dialogue": [], "book": "x"}, "cast[0].name", "half a character"),
        ({"foo": 1}, "", "of an unknown kind; it has"),
        (["a list"], "", "must be a dict"),
    ],
)  # fmt: skip
def test_bad_rows_say_what_where_and_how(tmp_path: Path, row: Any, field: str, match: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(coser_data()) + "\n\n" + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(SceneError) as caught:
        load_scenes(path)
    assert str(caught.value).startswith(f"{path}, line 3")
    assert caught.value.field == field
    assert match in str(caught.value)


def test_what_a_model_refuses_is_an_error_of_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.json", [coser_data(), coser_data()])
    monkeypatch.setattr("her_hf.scenes.load.read_coser", lambda row: Character(name=""))
    with pytest.raises(SceneError, match=r"row 2, field 'name': String should have at least 1 character.*got str ''"):
        load_scenes(path)


def test_a_whole_character_may_be_written_in_two_halves(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([coser_data(scenario="A \U0001f600 mill.")]), encoding="ascii")
    assert load_scenes(path)[0].scenario == "A \U0001f600 mill."
    with pytest.raises(SceneError, match=r"line 1, field 'messages\[0\]\.content': has half a character"):
        write(path, json.dumps({"messages": [{"role": "user", "content": "\ud83d"}]}))
        load_conversations(path)


def test_all_bad_rows_are_reported_up_to_twenty(tmp_path: Path) -> None:
    rows = [coser_data(book=...) if index % 2 else coser_data() for index in range(60)]
    with pytest.raises(SceneError) as caught:
        load_scenes(write(tmp_path / "bad.json", rows))
    lines = str(caught.value).splitlines()
    assert "30 bad rows" in lines[0]
    assert lines[1].startswith("  row 2, field 'book'") and lines[20].startswith("  row 40,")
    assert lines[21:] == ["  and 10 more"]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[" * 100_000, "is not readable JSON"),
        ("a.json", b"[]", "is empty"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", b"{oops}\n", r"line 1: is not JSON"),
        ("a.json", b"\xff\xfe\x00", "neither UTF-8 text"),
        ("a.parquet", b"PAR1 broken", "is not a valid Parquet file"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "without a character card"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=match) as caught:
        load_scenes(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


# -- bad ones left out


def test_bad_ones_are_left_out_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [coser_data(), coser_data(book=...), book(), coser_data(i_p="x"), "no row"]
    rows[2]["plots"][1]["conversation"][0]["dialogues"][0]["message"] = 5
    write(tmp_path / "a.json", rows)
    (tmp_path / "b.json").write_bytes(b"{")
    with pytest.raises(SceneError, match=r"a\.json: 4 bad rows"):
        load_scenes(tmp_path)
    assert caplog.text == ""
    found = load_scenes(tmp_path, on_error="skip")
    assert [scene.key for scene in found] == [("The Mill", 3, 0), ("A", 9, 4)]
    for words in ("a.json: 4 bad rows", "row 2, field 'book'", "row 3, field 'plots[1].conversation[0].dialogues[0]",
                  "row 4, field 'i_p'", "row 5: must be a dict", "b.json: is not JSON"):  # fmt: skip
        assert words in caplog.text


def test_of_a_file_that_breaks_off_the_rows_before_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(coser_data()) + "\n" + json.dumps(coser_data())[:-9], encoding="utf-8")
    assert len(load_scenes(path, on_error="skip")) == 1


def test_leaving_all_out_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [coser_data(book=...)])
    with pytest.raises(SceneError, match=r"a\.json, row 1, field 'book'"):
        load_scenes(tmp_path / "a.json", on_error="skip")
    write(tmp_path / "b.json", "{")
    with pytest.raises(SceneError, match=r"2 bad rows\n.*field 'book'.*\n  .*is not JSON"):
        load_scenes(tmp_path, on_error="skip")
    with pytest.raises(ValueError, match=r"on_error must be one of \['raise', 'skip'\], got 'ignore'"):
        load_scenes(tmp_path, on_error="ignore")  # type: ignore[arg-type]


# -- bounds


def nested(depth: int) -> Any:
    value: Any = 1
    for index in range(depth):
        value = [value] if (depth - index) % 2 else {"x": value}
    return value


@pytest.mark.parametrize(
    "row", [coser_data(), her_data(), {"name": "Mira", "first_mes": "Hm.", "scenario": "A pier."}]
)
def test_nested_rows_work_throughout_or_name_their_file(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "deep.json"
    most = MAX_DEPTH - (10 if "first_mes" in row else 0)
    (scene,) = load_scenes(write(path, {**row, "extensions": nested(most - 1)}))
    assert Scene.model_validate_json(scene.model_dump_json()) == scene
    for again in (scene.model_dump_json(), her_row(scene), coser_row(scene)):
        assert load_scenes(write(path, again))[0].dialogue == scene.dialogue, "it can be written and read again"
    for depth in (most, 400, 900):
        write(path, {**row, "extensions": nested(depth)})
        with pytest.raises(SceneError, match=r"deep\.json, line 1, field 'extensions\[0\]\.x\[0\]': is nested deeper"):
            load_scenes(path)
    for text in ('{"extensions": ' + "[" * 200_000, "[" * 200_000 + "]" * 200_000, '{"a":' * 200_000):
        with pytest.raises(SceneError, match=r"deep\.json.*: is not readable JSON"):
            load_scenes(write(path, text))


@pytest.mark.parametrize(
    "row",
    [
        {f"field {number}": 1 for number in range(20_000)},
        {"x" * 1_000_000: 1},
        coser_data(book=..., **{f"field {number}": 1 for number in range(20_000)}),
        coser_data(language="fr" * 500_000),
        coser_data(dialogues=[[1] * 100_000]),
        coser_data(dialogues="x" * 1_000_000),
        coser_data(character_profiles={"n" * 1_000_000: 1}),
        {"cast": [{"name": f"Guest {number}"} for number in range(9_000)], "dialogue": [{"name": "Z"}], "book": "x"},
        {"cast": [{"name": "z" * 9_000}] * 2, "dialogue": [], "book": "x"},
        {"spec": "chara_card_" + "9" * 1_000_000},
        [[1] * 100_000],
    ],
)  # fmt: skip
def test_texts_of_errors_are_bounded(tmp_path: Path, row: Any) -> None:
    with pytest.raises(SceneError) as caught:
        load_scenes(write(tmp_path / "a.json", [row]))
    assert len(str(caught.value)) < 1_500 and "a.json, row 1" in str(caught.value)


def test_texts_of_many_errors_are_bounded(tmp_path: Path) -> None:
    row = coser_data(book=..., **{"x" * 1_000: 1})
    with pytest.raises(SceneError) as caught:
        load_scenes(write(tmp_path / "b.json", [row] * 40))
    assert len(str(caught.value)) < 20_000 and str(caught.value).endswith("and 20 more")
    (tmp_path / "c.json").write_text(json.dumps(coser_data(**{"y" * 100_000: ["\ud83d"]})), encoding="ascii")
    with pytest.raises(SceneError, match="has half a character") as caught:
        load_scenes(tmp_path / "c.json")
    assert len(str(caught.value)) < 1_500


def test_names_of_a_large_cast_are_not_all_listed() -> None:
    scene = Scene(book="x", cast=[Character(name=f"Guest {number}") for number in range(9_000)])
    with pytest.raises(ValueError, match="and 8980 more") as caught:
        scene.member("Z")
    assert len(str(caught.value)) < 1_000


def test_long_keys_over_many_values_cost_nothing() -> None:
    start = time.process_time()
    one(coser_data(**{"k" * 1_000_000: list(range(100_000))}))
    assert time.process_time() - start < 5  # 0.1; as paths they would take 100 GB


# -- files, folders, the Hub


def test_what_lies_among_cards_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("Ada", "Bea"):
        write(tmp_path / f"{name}.json", {"name": name, "description": "A keeper.", "first_mes": "Hm."})
    Image.new("RGB", (2, 2)).save(tmp_path / "portrait.png")
    write(tmp_path / "lore.json", {"name": "Sea", "entries": {"0": {"keys": ["sea"], "content": "x"}}})
    write(tmp_path / "settings.json", {"theme": "dark"})
    for name, content in {"list": "[1, 2]", "text": '"x"', "empty": " \n", "bom": "\ufeff", "none": "[]"}.items():
        write(tmp_path / f"{name}.json", content)
    write(tmp_path / "log.jsonl", json.dumps({"messages": [{"role": "user", "content": "Late?"}]}))
    assert [scene.book for scene in load_scenes(tmp_path)] == ["Ada", "Bea"]
    for words in (
        "portrait.png: is an image without",
        "lore.json, line 1: is a lorebook",
        "settings.json, line 1: is of an unknown",
        "list.json: 2 bad rows",
        "text.json, row 1: must be a dict, got str 'x'",
        "log.jsonl, line 1: is a conversation without a scene",
        *(f"{name}.json: is empty" for name in ("empty", "bom", "none")),
    ):
        assert words in caplog.text
    write(tmp_path / "Cor.json", {"name": "Cor", "first_mes": 3})
    with pytest.raises(SceneError, match=r"Cor\.json, line 1, field 'first_mes'"):
        load_scenes(tmp_path)
    with pytest.raises(SceneError, match="is an image without a character card"):
        load_scenes(tmp_path / "portrait.png")


@pytest.mark.parametrize("one_file", [False, True])
def test_cards_called_as_the_visitor_are_passed_over(
    tmp_path: Path, one_file: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cards = [{"name": name, "description": "A keeper.", "first_mes": "Hm."} for name in ("Ada", "Bea")]
    if one_file:
        write(tmp_path / "cards.json", cards)
    else:
        for card in cards:
            write(tmp_path / f"{card['name']}.json", card)
    source = tmp_path / "cards.json" if one_file else tmp_path
    assert [scene.book for scene in load_scenes(source, visitor="bea")] == ["Ada"]
    assert "skipped: " in caplog.text and "is 'Bea', which is also the visitor's name" in caplog.text


def test_a_folder_without_any_scene_says_what_is_there(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "portrait.png")
    write(tmp_path / "settings.json", {"theme": "dark"})
    with pytest.raises(SceneError, match=r"(?s)2 bad rows.*image without a character card.*of an unknown kind"):
        load_scenes(tmp_path)


def test_two_spellings_of_a_title_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    titles = ("The Miller's Tale", "The Miller’s Tale", "the millers  tale", "The Mill")
    write(tmp_path / "a.json", [coser_data(book=title) for title in titles])
    assert len(load_scenes(tmp_path / "a.json")) == 4
    assert "3 spellings of one book title" in caplog.text and "'The Miller’s Tale'" in caplog.text
    assert len({title_key(title) for title in titles}) == 2
    assert title_key("???") != title_key("!!!") and title_key("三国") != title_key("水浒")


def test_a_parquet_file_damaged_anywhere_is_a_scene_error_or_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    import pyarrow

    path, table = tmp_path / "a.parquet", pyarrow.Table.from_pylist([coser_data(plot=None), coser_data(plot=None)])
    for compression in ("snappy", "none"):
        parquet.write_table(table, path, compression=compression)
        data = path.read_bytes()
        refused = 0
        for at in range(4, len(data), 97):
            for damaged in (data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], data[:at]):
                path.write_bytes(damaged)
                try:
                    load_scenes(path)
                except SceneError as error:
                    refused += 1
                    assert str(error).startswith(str(path))
        assert refused > 20


def test_kinds_follow_from_content_not_from_names(tmp_path: Path) -> None:
    scene = one(coser_data())
    lines = [json.dumps(row) for row in (coser_data(), her_data(), json.loads(scene.model_dump_json()))]
    path = write(tmp_path / "mixed.txt", "\ufeff" + "\n".join(lines))
    assert [scene.key for scene in load_scenes(path)] == [("The Mill", 3, 0), ("The Mill", 3, 1), ("The Mill", 3, 0)]
    assert load_scenes(str(write(tmp_path / "one.data", coser_data())))[0] == scene


def test_a_table_gives_each_scene_its_own_cast(tmp_path: Path) -> None:
    """Arrow makes one column a profile, for the names of all rows, and fills in null."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    import pyarrow

    other = coser_data(book="B", character_profiles={"Zoe": "A smith.", "Yan": "A cook."}, key_characters=[])
    rows = [coser_data(), other]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    direct = [one(row) for row in rows]
    assert [[member.name for member in scene.cast] for scene in direct][1] == [
        *("Ann", "Environment", "Bob Jr.", "Zoe", "Yan")
    ]
    for loaded in (
        load_scenes(tmp_path / "rows.parquet"),
        [one(dict(row)) for row in datasets.Dataset.from_list(rows)],
    ):
        assert [scene.cast for scene in loaded] == [scene.cast for scene in direct]
        assert [scene.messages_for("Ann") for scene in loaded] == [scene.messages_for("Ann") for scene in direct]
        assert [one(coser_row(scene)).cast for scene in loaded] == [scene.cast for scene in direct]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    import pyarrow

    rows = [json.loads(line) for line in MINI.read_text(encoding="utf-8").splitlines()]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "mini.parquet")
    loaded, direct = load_scenes(tmp_path / "mini.parquet"), load_scenes(MINI)
    assert [scene.messages_for(scene.characters[0].name) for scene in loaded] == [
        scene.messages_for(scene.characters[0].name) for scene in direct
    ]


def test_datasets_opens_the_same_rows(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets")
    table = datasets.load_dataset("json", data_files=str(MINI), cache_dir=str(tmp_path), split="train")
    assert [one(dict(row)).key for row in table] == [scene.key for scene in load_scenes(MINI)]


def test_splits_by_file_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, book_title in (("train-00000-of-00001.json", "A"), ("test.json", "B"), ("dev.json", "C")):
        write(tmp_path / "data" / name, [coser_data(book=book_title)])
    write(tmp_path / "notes.txt", "not data")
    write(tmp_path / "more.json", [coser_data(book="D")])
    assert [scene.book for scene in load_scenes(tmp_path)] == ["A", "C", "B", "D"]
    assert [scene.book for scene in load_scenes(tmp_path, "validation")] == ["C"]
    with pytest.raises(SceneError, match=r"no split 'dev'; it has \['test', 'train', 'validation'\]"):
        load_scenes(tmp_path, "dev")


def test_what_tools_leave_beside_the_files_of_splits_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", json.dumps(coser_data(book="A")))
    write(tmp_path / "dataset_infos.json", {"default": {"splits": {}}})
    for name in ("loss.png", "train_loss.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    assert [scene.book for scene in load_scenes(tmp_path)] == ["A"]
    assert [scene.book for scene in load_scenes(tmp_path, "train")] == ["A"]
    write(tmp_path / "more.json", "{")
    with pytest.raises(SceneError, match=r"more\.json: is not JSON"):
        load_scenes(tmp_path)


def test_names_of_files_are_no_patterns(tmp_path: Path) -> None:
    write(tmp_path / "train-[1].json", [coser_data(book="A")])
    assert [scene.book for scene in load_scenes(tmp_path, "train")] == ["A"]


@pytest.mark.parametrize(
    ("head", "field", "match"),
    [
        ("configs: 3", "configs", "must be a list of configs, got int 3"),
        ("configs: [3]", "configs", "must be a list of configs"),
        ("date: 2023-02-30", "", "has a head that is not readable YAML (day is out of range"),
        (f"x: {'9' * 5_000}", "", "has a head that is not readable YAML (Exceeds the limit"),
        (f"a: {'[' * 3_000}", "", "has a head that is not readable YAML (maximum recursion"),
        ("configs:\n- data_files: ''", "data_files", "must be paths of files or patterns of them, got str ''"),
        ("configs:\n- data_files: 3", "data_files", "got int 3"),
        ("configs:\n- data_files: [{split: train}]", "data_files", "got NoneType"),
        ("configs:\n- data_files: {train: [.]}", "data_files", "got str '.'"),
        ("configs:\n- data_files: 'a**'", "data_files", "cannot be read"),
    ],
)
def test_a_card_with_a_bad_head(tmp_path: Path, head: str, field: str, match: str) -> None:
    write(tmp_path / "a.json", [coser_data()])
    write(tmp_path / "README.md", f"---\n{head}\n---\n")
    with pytest.raises(SceneError) as caught:
        load_scenes(tmp_path)
    where = f", field '{field}'" if field else ""
    assert str(caught.value).startswith(f"{tmp_path / 'README.md'}{where}: ")
    assert match in str(caught.value)


@pytest.mark.parametrize("path", ["../secret.jsonl", "/etc/passwd"])
def test_a_card_cannot_name_files_outside_its_folder(tmp_path: Path, path: str) -> None:
    write(tmp_path / "README.md", f"---\nconfigs:\n- config_name: x\n  data_files: {path}\n---\n")
    with pytest.raises(SceneError, match="outside its folder"):
        load_scenes(tmp_path)


def test_folder_without_data(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="holds no data"):
        load_scenes(tmp_path)


def test_split_of_a_single_file(tmp_path: Path) -> None:
    path = write(tmp_path / "test_set.json", [coser_data(), coser_data(tag="ood", book="B")])
    assert len(load_scenes(path)) == len(load_scenes(path, "test")) == 2
    assert [scene.book for scene in load_scenes(path, "ood")] == ["B"]
    with pytest.raises(SceneError, match=r"no split 'train'; its scenes have tags \['id', 'ood'\]"):
        load_scenes(path, "train")


@pytest.mark.parametrize("source", ["no/such/file.json", "missing.json", "/nowhere"])
def test_no_such_source(source: str) -> None:
    with pytest.raises(SceneError, match="neither a file or folder here nor the id of a Hub dataset"):
        load_scenes(source)


def test_no_such_dataset_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub.constants.HF_HUB_OFFLINE
    with pytest.raises(SceneError, match=r"nobody/nothing: .*the Hub has no dataset of that name.*local copy"):
        load_scenes("nobody/nothing")
