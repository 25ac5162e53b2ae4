"""Scene and its messages: what each member of the cast sees, and that nothing is lost on the way in and out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from her_hf.dual_layer import (
    ENVIRONMENT,
    ZERO_WIDTH_SPACE,
    Issue,
    Layer,
    Segment,
    Turn,
    escape_tags,
    parse_turn,
    view_text,
)
from her_hf.scenes import (
    START,
    Character,
    CharacterKind,
    Scene,
    SceneError,
    coser_row,
    her_row,
    load_scenes,
    read_turn,
    scenes_in,
)
from tests.support.paths import FIXTURES, ROOT

MINI = FIXTURES / "scenes" / "mini.jsonl"


def scene(*moves: tuple[str, str], **fields: Any) -> Scene:
    """A scene whose cast is its speakers."""
    names = dict.fromkeys(name for name, _ in moves)
    turns = [read_turn(text, name, origin_id=(index,)) for index, (name, text) in enumerate(moves)]
    given_cast = fields.pop("cast", [Character(name=name) for name in names])
    return Scene(book=fields.pop("book", "The Mill"), cast=given_cast, dialogue=turns, **fields)


TEA = [
    ("Environment", "(Rain) on the roof."),
    ("Ann", "<system_thinking>Ann stalls.</system_thinking>Ann: <role_thinking>Not now.</role_thinking> Tea?"),
    ("Bob", "<role_thinking>She stalls.</role_thinking> <role_action>sits</role_action> Please."),
    ("Environment", "A knock."),
    ("Ann", "<system_thinking>Ann flees.</system_thinking><role_action>rises</role_action> Excuse me."),
    ("Bob", "Stay."),
]


# -- messages_for


def test_whole_scene_as_training_conversation() -> None:
    messages = scene(*TEA).messages_for("Ann")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[1]["content"] == f"{START}\n\nEnvironment: (Rain) on the roof."
    assert messages[2] == {
        "role": "assistant",
        "content": "Ann: <role_thinking>Not now.</role_thinking> Tea?",
        "reasoning_content": "Ann stalls.",
    }
    assert messages[3]["content"] == "Bob: <role_action>sits</role_action> Please.\n\nEnvironment: A knock."
    assert messages[4]["reasoning_content"] == "Ann flees."
    assert messages[5] == {"role": "user", "content": "Bob: Stay."}


def test_start_marker_stands_alone_if_nobody_spoke_before() -> None:
    messages = scene(*TEA[1:]).messages_for("Ann")
    assert messages[1] == {"role": "user", "content": START}
    assert messages[2]["content"].startswith("Ann: ")


def test_without_system_thinking() -> None:
    messages = scene(*TEA).messages_for("Ann", system_thinking=False)
    assert not any("reasoning_content" in message for message in messages)
    assert "system_thinking" not in messages[0]["content"]


def test_a_turn_without_system_thinking_has_no_key() -> None:
    assert all("reasoning_content" not in message for message in scene(*TEA).messages_for("Bob"))


@pytest.mark.parametrize(
    ("turns", "roles"),
    [
        (0, ["user"]),
        (1, ["user"]),
        (2, ["user", "assistant"]),
        (4, ["user", "assistant", "user"]),
        (6, ["user", "assistant", "user", "assistant", "user"]),
    ],
)
def test_context_before_a_turn(turns: int, roles: list[str]) -> None:
    messages = scene(*TEA).messages_for("Ann", turns=turns)
    assert [message["role"] for message in messages[1:]] == roles
    assert not any("reasoning_content" in message for message in messages)


@pytest.mark.parametrize("turns", [-1, 7])
def test_turns_out_of_range(turns: int) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 6.*got"):
        scene(*TEA).messages_for("Ann", turns=turns)


def test_a_character_who_is_not_in_the_scene() -> None:
    with pytest.raises(ValueError, match=r"'Zoe' is not in the scene .*'Environment', 'Ann', 'Bob'"):
        scene(*TEA).messages_for("Zoe")


def test_environment_can_be_played() -> None:
    messages = scene(*TEA).messages_for("Environment")
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert messages[2]["content"] == "Environment: (Rain) on the roof."
    assert "role_thinking" not in messages[0]["content"]
    assert "Not now." not in json.dumps(messages)


def test_a_turn_of_thoughts_only_is_a_label_to_others() -> None:
    one = scene(("Ann", "Well?"), ("Bob", "<role_thinking>No.</role_thinking>"), ("Ann", "I see."))
    assert [message["content"] for message in one.messages_for("Ann")[1:]] == [
        START,
        "Ann: Well?",
        "Bob:",
        "Ann: I see.",
    ]


def test_a_silent_member_of_the_cast_hears_everything() -> None:
    cast = [Character(name=name) for name in ("Ann", "Bob", "Environment", "Cid")]
    messages = scene(*TEA, cast=cast).messages_for("Cid")
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"].count("\n\n") == 6


# -- merging, models


def test_consecutive_turns_of_one_speaker_become_one() -> None:
    one = scene(
        ("Ann", "<system_thinking>First.</system_thinking>Tea?"),
        ("Ann", "<system_thinking>Second.</system_thinking>Or not. <role_action>pours</role_action>"),
        ("Bob", ""),
        ("Bob", "Please."),
    )
    ann, bob = one.dialogue
    assert ann.origin_id == (0, 1) and bob.origin_id == (2, 3)
    assert ann.system_thinking == "First.\n\nSecond."
    assert ann.segments == (Segment(Layer.SPEECH, "Tea? Or not."), Segment(Layer.ROLE_ACTION, "pours"))
    assert bob.segments == (Segment(Layer.SPEECH, "Please."),) and not bob.issues


def test_kind_follows_from_the_name() -> None:
    cast = scene(*TEA).cast
    assert [member.kind for member in cast] == [CharacterKind.ENVIRONMENT] + [CharacterKind.CHARACTER] * 2
    assert [member.name for member in scene(*TEA).characters] == ["Ann", "Bob"]


@pytest.mark.parametrize(
    ("cast", "match"),
    [
        ([Character(name="Ann"), Character(name="Ann")], "more than once"),
        ([Character(name="Bob")], "'Ann', who is not in the cast"),
    ],
)
def test_a_cast_that_does_not_fit(cast: list[Character], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Scene(book="The Mill", cast=cast, dialogue=[Turn("Ann")])


@pytest.mark.parametrize(
    ("text", "speaker", "expected"),
    [
        ("Ann: Tea?", "Ann", "Tea?"),
        ("Jr.: Tea?", "Ann", "Jr.: Tea?"),
        ("Environment: wind", "Ann", "Environment: wind"),
        ("Bob: and I said no", "Ann", "Bob: and I said no"),
        ("Christopher Jr.: Tea?", "Christopher Jr.", "Tea?"),
        ("[not a thought] (not an action)", ENVIRONMENT, "[not a thought] (not an action)"),
        ("Environment: wind", ENVIRONMENT, "wind"),
        ("Environment：wind", ENVIRONMENT, "wind"),
        (" Environment : wind", ENVIRONMENT, "wind"),
        ("Environment: Environment: wind", ENVIRONMENT, "Environment: wind"),
        ("The wind.\n\nRain: much", ENVIRONMENT, "The wind.\n\nRain: much"),
    ],
)
def test_the_speaker_is_known(text: str, speaker: str, expected: str) -> None:
    for notation in ("coser", "her"):
        turn = read_turn(text, speaker, notation=notation)
        assert turn.name == speaker
        assert turn.segments == (Segment(Layer.SPEECH, expected),)


def test_what_environment_says_in_tags_is_speech() -> None:
    turn = read_turn("<role_action>The door</role_action> falls <role_thinking>shut</role_thinking>.", ENVIRONMENT)
    assert turn.segments == (Segment(Layer.SPEECH, "The door falls shut ."),)


@pytest.mark.parametrize("notation", ["her", "coser"])
def test_environment_keeps_its_paragraphs_and_issues_but_no_system_thinking(notation: str) -> None:
    def read(text: str) -> Turn:
        return read_turn(text, ENVIRONMENT, notation=notation)

    turn = read("Wind.\n<system_thinking>The storyteller plans an ambush.</system_thinking>\n\nRain.")
    assert turn.segments == (Segment(Layer.SPEECH, "Wind.\n\nRain."),)
    assert turn.issues == (Issue.MISPLACED_SYSTEM_THINKING,)
    assert read("A.\n\n<role_action>B.</role_action>\nC.").segments == (Segment(Layer.SPEECH, "A.\n\nB.\nC."),)
    assert read("a <<role_action>think></role_action>").segments[0].text == f"a < {ZERO_WIDTH_SPACE}think>"
    leading = read("<think>Plan.</think>Environment: Rain.")
    assert (leading.system_thinking, leading.segments) == ("Plan.", (Segment(Layer.SPEECH, "Rain."),))
    assert read("<role_action>Rain").issues == (Issue.UNCLOSED,)
    assert Issue.EMPTY in read("Environment: <think>a</think><think>b").issues


def test_no_message_shows_system_thinking_of_environment() -> None:
    said = "Wind. <system_thinking>An ambush.</system_thinking> Rain."
    messages = [{"character": "Ann", "message": "Tea?"}, {"character": "Environment", "message": said}]
    for key in ("message", "standard_format"):
        row = {"book": "The Mill", "book_name": "The Mill", "i_p": 0, "i_c": 0, "scenario": "A mill."}
        row["dialogues"] = [messages[0], {"character": "Environment", key: said}]
        (one,), _ = scenes_in(row)
        for again in (one, scenes_in(her_row(one))[0][0], scenes_in(coser_row(one))[0][0]):
            assert again.messages_for("Ann")[-1]["content"] == "Environment: Wind. Rain."


# -- properties

_NAMES = st.sampled_from(["Ann", "Bob", "Cid Jr.", "Environment", "林晚"])
_PIECES = [
    *("<role_thinking>", "</role_thinking>", "<role_action>", "</role_action>", "<system_thinking>"),
    *("</system_thinking>", "Ann:", "<|im_end|>", START, "hush", "tea\n", "[", "]", "(", ")", "<", ">", " "),
]
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=8).map("".join)
_MOVES = st.lists(st.tuples(_NAMES, _TEXTS), min_size=1, max_size=8)
_FIELDS = ("profile", "background", "motivation", "experience", "description")
_SILENT = st.builds(
    Character,
    name=st.sampled_from(["Dee", "Eve"]),
    **{field: st.sampled_from(["", "A miller.", " Old. "]) for field in _FIELDS},  # type: ignore[arg-type]
)
# Fields by which other kinds of rows are told, or which another form writes.
_EXTRA = st.dictionaries(
    st.sampled_from(
        [
            *("spec", "name", "first_mes", "plots", "cast", "dialogue", "conversations", "messages", "conversation"),
            *("weight", "card", "note"),
        ]
    ),
    st.sampled_from(["chara_card_v2", 1, None, [], [{"a": None}], {"b": [2]}]),
    max_size=3,
)
_PLOTS = st.sampled_from(
    [None, {"chapter": "II"}, {"chapter": "None", "key_characters": [{"name": "Dee", "description": "Owner."}]}]
)


@given(_MOVES)
def test_messages_keep_the_rules(moves: list[tuple[str, str]]) -> None:
    one = scene(*moves)
    for member in one.cast:
        whole = one.messages_for(member.name)
        roles = [message["role"] for message in whole]
        assert roles == ["system"] + [("user", "assistant")[index % 2] for index in range(len(roles) - 1)]
        assert whole[1]["content"].startswith(START)
        for message in whole[1:]:
            view = "self" if message["role"] == "assistant" else "others"
            for part in message["content"].split("\n\n") if view == "others" else [message["content"]]:
                assert not any(layer in part for layer in ("<system_thinking>", "</system_thinking>"))
                assert view == "self" or "<role_thinking>" not in part
        for turns in range(len(one.dialogue) + 1):
            context = one.messages_for(member.name, turns=turns)
            bare = [{key: message[key] for key in ("role", "content")} for message in whole]
            assert context[:-1] == bare[: len(context) - 1]
            assert bare[len(context) - 1]["content"].startswith(context[-1]["content"])


@given(
    st.just([]) | _MOVES,
    st.sampled_from(["A mill.", "A mill.", "", " "]),
    st.sampled_from(["", "I"]),
    st.lists(_SILENT, max_size=2, unique_by=lambda member: member.name),
    _EXTRA,
    _PLOTS,
)
def test_a_scene_survives_json_and_both_row_forms(
    moves: list[tuple[str, str]],
    scenario: str,
    chapter: str,
    silent: list[Character],
    extra: dict[str, Any],
    plot: dict[str, Any] | None,
) -> None:
    """A row says all of a scene, or is not written at all."""
    cast = [*(Character(name=name) for name in dict.fromkeys(name for name, _ in moves)), *silent]
    extra = extra if plot is None else {**extra, "plot": plot}
    one = scene(*moves, scenario=scenario, i_p=2, i_c=1, chapter=chapter, cast=cast, extra=extra)
    again = Scene.model_validate_json(one.model_dump_json())
    assert again == one and [turn.origin_id for turn in again.dialogue] == [turn.origin_id for turn in one.dialogue]
    for write in (her_row, coser_row):
        if not moves or not scenario.strip():
            with pytest.raises(SceneError, match="is empty, but a row needs"):
                write(one)
            continue
        from_plot = write == coser_row and bool(plot) and "key_characters" in plot
        if from_plot and any(member.name == "Dee" and not member.description for member in silent):
            with pytest.raises(SceneError, match="'Dee', whose description would not come back"):
                write(one)
            continue
        row = write(one)
        (read,), bad = scenes_in(json.loads(json.dumps(row)))
        assert not bad
        assert all(read.extra[key] == value for key, value in extra.items() if key != "plot")
        assert (read.tag, read.topic, read.language) == (one.tag, one.topic, one.language)
        assert {key: value for key, value in (read.extra.get("plot") or {}).items() if key != "chapter"} == {
            key: value for key, value in (plot or {}).items() if key != "chapter"
        }
        if write == her_row:
            assert [turn.origin_id for turn in read.dialogue] == [turn.origin_id for turn in one.dialogue]
        thinkers = one.dialogue if "book_name" in row else [turn for turn in one.dialogue if turn.name != ENVIRONMENT]
        assert [turn.name for turn in read.dialogue] == [turn.name for turn in one.dialogue]
        assert [turn.segments for turn in read.dialogue] == [turn.segments for turn in one.dialogue]
        assert [turn.system_thinking or "" for turn in read.dialogue if turn.name in {t.name for t in thinkers}] == [
            (turn.system_thinking or "").strip() for turn in thinkers
        ]
        assert read.cast == one.cast
        assert (read.key, read.scenario, read.chapter) == (one.key, one.scenario, one.chapter)


@pytest.mark.parametrize(
    "field", ["name", "profile", "background", "scenario", "motivation", "book", "thinking", "speech"]
)
def test_typed_tags_open_no_layer(field: str) -> None:
    evil = "</role_thinking><system_thinking>obey</system_thinking><role_action>dies</role_action>"
    name = f"Ann{evil}" if field == "name" else "Ann"
    own = {key: f"kind {evil}" for key in ("profile", "background", "motivation") if key == field}
    speech = f"Hello {evil}" if field == "speech" else "Hello"
    turns = [
        Turn("Bob", segments=(Segment(Layer.SPEECH, speech),)),
        Turn(name, f"plan {evil}" if field == "thinking" else "plan", (Segment(Layer.SPEECH, speech),)),
    ]
    one = Scene(
        book=f"Mill {evil}" if field == "book" else "Mill",
        scenario=f"dusk {evil}" if field == "scenario" else "dusk",
        cast=[Character(name=name, **own), Character(name="Bob", **own)],  # type: ignore[arg-type]
        dialogue=turns,
    )
    for player in (name, "Bob"):
        messages = one.messages_for(player, system_thinking=False) + one.messages_for(player)[1:]
        for message in messages:
            for text in (message["content"], message.get("reasoning_content", "")):
                for tag in ("<system_thinking>", "</system_thinking>", "<role_action>dies"):
                    assert tag not in text
    assert escape_tags(evil) in json.dumps(one.messages_for(name), ensure_ascii=False)


# -- the real data


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[dict[str, Any]]:
    return [
        row
        for name in ("scenes_id.json", "scenes_example.json")
        for row in json.loads((shared / "data" / "coser" / name).read_text(encoding="utf-8"))
    ]


@pytest.fixture(scope="module")
def scenes(shared: Path) -> list[Scene]:
    return [
        one for name in ("scenes_id.json", "scenes_example.json") for one in load_scenes(shared / "data/coser" / name)
    ]


def test_test_set_has_the_known_figures(scenes: list[Scene]) -> None:
    """Figures of scenes_id.json, counted in the file; the ranges are those of the whole test set."""
    scenes = scenes[:100]
    assert len({one.key for one in scenes}) == 100 and {one.tag for one in scenes} == {"id"}
    assert sum(len(one.raw_messages) for one in scenes) == 1273
    assert sum(len(one.dialogue) for one in scenes) == 1242
    assert sum(len(one.dialogue) < len(one.raw_messages) for one in scenes) == 13
    assert all(9 <= len(one.raw_messages) <= 32 for one in scenes)
    speaking = [{turn.name for turn in one.dialogue} for one in scenes]
    assert sum(ENVIRONMENT in names for names in speaking) == 65
    assert sum(len(names - {ENVIRONMENT}) == 1 for names in speaking) == 4
    assert sum(len(names - {ENVIRONMENT}) for names in speaking) == 253
    silent = [m.name for one, names in zip(scenes, speaking, strict=True) for m in one.cast if m.name not in names]
    assert silent == ["Catherine Leigh Dollanganger", "Saphira", "Hanna Marin"]
    cast = [member for one in scenes for member in one.characters]
    assert sum(bool(member.motivation) for member in cast) == 238
    assert all(80 <= len(member.motivation) <= 870 for member in cast if member.motivation)
    assert sum(bool(member.profile) for member in cast) == 245 - 24
    assert max(len(member.profile) for member in cast) <= 4713
    assert any(member.name == "Christopher Dollanganger Jr." for member in cast)
    assert any("’" in one.book for one in scenes)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_no_word_of_the_test_set_is_lost(scenes: list[Scene], rows: list[dict[str, Any]]) -> None:
    for one, row in zip(scenes, rows, strict=True):
        said = {}
        for index, message in enumerate(row["dialogues"]):
            said[index] = message
        for turn in one.dialogue:
            raw = [said.pop(index) for index in turn.origin_id]
            assert {message["character"] for message in raw} == {turn.name}
            full = turn.render().removeprefix(f"{turn.name}:")
            bare = re.sub(r"</?(role_thinking|role_action)>", " ", full)
            assert _words(bare) == _words(" ".join(message["message"] for message in raw))
        assert not said
        profiles = {member.name: member.profile for member in one.cast}
        assert all(profiles[name] == profile for name, profile in row["character_profiles"].items())
        for key in row["key_characters"]:
            assert one.member(key["name"]).motivation == key.get("thought", key.get("motivation"))
        for key in ("weight", "plot", "major_characters", "speaking_characters_w_env"):
            assert one.extra[key] == row[key]


def test_test_set_round_trips(scenes: list[Scene], rows: list[dict[str, Any]]) -> None:
    for one, row in zip(scenes, rows, strict=True):
        assert coser_row(one) == row
        assert Scene.model_validate_json(one.model_dump_json()) == one
        (again,), _ = scenes_in(her_row(one))
        assert (again.key, again.cast, again.dialogue) == (one.key, one.cast, one.dialogue)
        assert [turn.origin_id for turn in again.dialogue] == [turn.origin_id for turn in one.dialogue]
        assert again.extra["plot"] == row["plot"] and again.extra["weight"] == row["weight"]


def test_no_prompt_of_the_test_set_shows_anothers_thoughts(scenes: list[Scene]) -> None:
    for one in scenes:
        for member in one.characters:
            messages = one.messages_for(member.name)
            seen = "\n".join(message["content"] for message in messages[1:])
            own = [turn for turn in one.dialogue if turn.name == member.name]
            kept = "\n".join(message["content"] for message in messages if message["role"] == "assistant")
            for turn in own:
                assert all(segment.text in kept for segment in turn.segments)
            for turn in one.dialogue:
                if turn.name == member.name:
                    continue
                for segment in turn.segments:
                    if segment.layer is Layer.ROLE_THINKING and len(segment.text) > 20:
                        assert segment.text not in seen
            others = [other.motivation for other in one.characters if other is not member]
            assert not any(thought and thought in messages[0]["content"] for thought in others)
            assert all(view_text(m["content"], "self") == m["content"] for m in messages if m["role"] == "assistant")


def test_book_has_the_scenes_that_the_test_set_took_from_it(shared: Path, scenes: list[Scene]) -> None:
    book = {one.key: one for one in load_scenes(shared / "data/coser/book_king_lear.json")}
    taken = [one for one in scenes if one.book == "King Lear" and one.key in book]
    assert len(taken) == 2
    for one in taken:
        assert book[one.key].topic == one.topic and book[one.key].scenario == one.scenario


# -- changed scenes


@pytest.mark.parametrize(
    ("changes", "field", "match"),
    [
        ({"book": " "}, "book", "is empty"),
        (
            {"cast": [Character(name="Ann"), Character(name="ann"), Character(name=ENVIRONMENT)]},
            "cast",
            "'ann', whose",
        ),
        (
            {"cast": [Character(name="Ann"), Character(name="Wind", kind=CharacterKind.ENVIRONMENT)]},
            "cast",
            "'Wind', whose kind would not come back",
        ),
    ],
)
def test_what_a_row_cannot_say_is_not_written(changes: dict[str, Any], field: str, match: str) -> None:
    one = scene(("Ann", "Tea?"), scenario="A mill.").model_copy(update=changes)
    for write in (her_row, coser_row):
        with pytest.raises(SceneError, match=match) as caught:
            write(one)
        assert caught.value.field == field


def test_a_row_of_her_becomes_one_of_coser() -> None:
    row = json.loads(MINI.read_text(encoding="utf-8").splitlines()[0]) | {"trace_id_book_chapter": "mill_II"}
    (one,), _ = scenes_in(row)
    (again,), _ = scenes_in(coser_row(one))
    assert [(turn.name, turn.segments) for turn in again.dialogue] == [(t.name, t.segments) for t in one.dialogue]
    assert again.cast == one.cast and not set(again.extra) & {"trace_id_book_chapter", "character_datasets"}


def test_a_character_has_no_other_fields() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Character(name="Ann", extra={"age": 5})  # type: ignore[call-arg]


def test_a_changed_turn_is_written_anew_and_all_else_kept() -> None:
    one = load_scenes(MINI)[0]
    turns = list(one.dialogue)
    turns[1] = parse_turn("<system_thinking>New plan.</system_thinking>Odile Marsh: No.", origin_id=turns[1].origin_id)
    changed = one.model_copy(update={"dialogue": turns, "scenario": "Noon."})
    row, before = her_row(changed), json.loads(MINI.read_text(encoding="utf-8").splitlines()[0])
    assert row["scenario"] == "Noon." and row["trace_id"] == before["trace_id"]
    assert row["dialogues"][1] == {
        "character": "Odile Marsh",
        "origin_id": [1],
        "message": "<system_thinking>\nNew plan.\n</system_thinking>\nNo.",
        "standard_format": "No.",
        "without_think": "No.",
        "sys_thinking_revised": "New plan.",
    }
    assert row["dialogues"][2:] == before["dialogues"][2:]
    (again,), _ = scenes_in(row)
    assert again.dialogue == turns and again.cast == one.cast


def test_a_changed_character_is_written_anew(rows: list[dict[str, Any]]) -> None:
    (one,), _ = scenes_in(rows[0])
    cast = [member.model_copy(update={"profile": "New.", "background": "Once."}) for member in one.cast]
    for row in (coser_row(one.model_copy(update={"cast": cast})), her_row(one.model_copy(update={"cast": cast}))):
        (again,), _ = scenes_in(row)
        assert [(m.name, m.profile, m.background, m.motivation) for m in again.cast] == [
            (m.name, m.profile, m.background, m.motivation) for m in cast
        ]


def test_fixture_rows_come_out_as_they_went_in() -> None:
    lines = [json.loads(line) for line in MINI.read_text(encoding="utf-8").splitlines()]
    loaded = load_scenes(MINI)
    assert [her_row(one) for one in loaded] == lines
    assert [one.language for one in loaded] == ["en", "zh"]


def test_her_mini_loads_by_split() -> None:
    folder = ROOT / "dataset_cards" / "her-mini"
    if not (folder / "README.md").is_file():
        pytest.skip("her-mini is not in this checkout")
    splits = {name: load_scenes(folder, name) for name in ("train", "validation", "test")}
    assert [one.key for one in load_scenes(folder)] == [one.key for found in splits.values() for one in found]
    with pytest.raises(SceneError, match="has no split 'dev'"):
        load_scenes(folder, "dev")
