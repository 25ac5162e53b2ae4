"""Case tables for her_hf.dual_layer: every rule of the design's section on the public API."""

from __future__ import annotations

import re
from typing import Any

import pytest

from her_hf.dual_layer import (
    ENVIRONMENT,
    MAX_LABEL,
    TAGS,
    ZERO_WIDTH_SPACE,
    Issue,
    Layer,
    Segment,
    Turn,
    TurnEvent,
    TurnStream,
    View,
    escape_tags,
    foreign_start,
    looks_like_name,
    parse_turn,
    pattern_of,
    render_segments,
    split_system,
    system_block,
    view_text,
    visible_runs,
)

LETTERS = {
    Layer.SYSTEM_THINKING: "H",
    Layer.ROLE_THINKING: "T",
    Layer.ROLE_ACTION: "A",
    Layer.SPEECH: "S",
}
BLOCK = "<system_thinking>plan</system_thinking>"


def shape(turn: Turn) -> tuple[str | None, str | None, str]:
    """Name, system thinking, and the segments as `S:words|T:words`; H is a hidden (misplaced) system block."""
    return turn.name, turn.system_thinking, "|".join(f"{LETTERS[s.layer]}:{s.text}" for s in turn.segments)


def issues(turn: Turn) -> set[str]:
    return {str(issue) for issue in turn.issues}


def streamed(text: str, size: int, **settings: Any) -> Turn:
    stream = TurnStream(prefilled=False, **settings)
    for at in range(0, len(text), size):
        stream.feed(text[at : at + size])
    return stream.close()


def case(
    title: str, text: str, name: str | None, system: str | None, segments: str, found: str = "", **kwargs: Any
) -> Any:
    return pytest.param(text, kwargs, (name, system, segments), set(found.split()), id=title)


TURNS = [
    # the plain case, and text without any tag
    case(
        "a reply as it should be",
        f"{BLOCK}\nAnn: <role_thinking>Not now.</role_thinking> <role_action>smiles</role_action> Tea?",
        "Ann",
        "plan",
        "T:Not now.|A:smiles|S:Tea?",
    ),
    case("speech only", "Good day.", None, None, "S:Good day."),
    case("empty", "", None, None, "", "empty"),
    case("white space", " \n\t", None, None, "", "empty"),
    case("label only", "Ann:", "Ann", None, "", "empty"),
    case("no visible layer", f"{BLOCK}Ann:", "Ann", "plan", "", "empty"),
    # tags
    case("any case", "<Role_Thinking>a</ROLE_thinking>b", None, None, "T:a|S:b"),
    case("inner spaces", "< role_thinking >a< / role_thinking\n>b", None, None, "T:a|S:b"),
    case("system_think", "<system_think>a</system_think>b", None, "a", "S:b"),
    case("systemthinking", "<systemthinking>a</systemthinking>b", None, "a", "S:b"),
    case("think", "<think>a</think>b", None, "a", "S:b"),
    case("thought", "<thought>a</thought>b", None, "a", "S:b"),
    case("role_think", "<role_think>a</role_think>b", None, None, "T:a|S:b"),
    case("long_role_thinking", "<long_role_thinking>a</long_role_thinking>b", None, None, "T:a|S:b"),
    case("role_speech", "<role_speech>a</role_speech>", None, None, "S:a"),
    case("an alias closes its layer", "<system_thinking>a</think>b", None, "a", "S:b"),
    case("another tag", "a <b>c</b>", None, None, "S:a <b>c</b>", "unknown_tag"),
    case(
        "a self-closing tag opens nothing",
        "a <role_action/> b",
        None,
        None,
        "S:a <role_action/> b",
        "unknown_tag",
    ),
    case("a tag with attributes opens nothing", '<think a="b">c', None, None, 'S:<think a="b">c', "unknown_tag"),
    case("less than", "1 < 2 > 0 <3", None, None, "S:1 < 2 > 0 <3"),
    case("an unfinished tag is text", "a <role_think", None, None, "S:a <role_think", "unknown_tag"),
    case(
        "another tag in role thinking",
        "<role_thinking>a <speech>b</speech></role_thinking> c",
        None,
        None,
        "T:a <speech>b</speech>|S:c",
        "unknown_tag",
    ),
    case("another tag in system thinking", "<think>a <b>c</b></think>d", None, "a <b>c</b>", "S:d"),
    case(
        "a tag cut inside a layer",
        "<role_action>a <role_th</role_action> b",
        None,
        None,
        "A:a <role_th|S:b",
        "unknown_tag",
    ),
    case("an end that is missing", "a <role_thinking b. c", None, None, "S:a <role_thinking b. c", "unknown_tag"),
    case("a tag is short", f"<think{' ' * 80}>a", None, None, f"S:<think{' ' * 80}>a", "unknown_tag"),
    case("a tag after an angle", "a <<think>b</think>", None, None, "S:a <|H:b", "misplaced_system_thinking"),
    # the stack
    case(
        "nothing inside system thinking is visible",
        "<think>a <role_action>b</role_action> <role_speech>c</role_speech> d</think>e",
        None,
        "a b c d",
        "S:e",
        "nested",
    ),
    case(
        "nothing inside role thinking is visible",
        "<role_thinking>a <role_action>b <role_speech>c</role_speech></role_action> d</role_thinking>e",
        None,
        None,
        "T:a b c d|S:e",
        "nested",
    ),
    case(
        "system thinking inside role thinking is hidden from all",
        "<role_thinking>a <think>b <role_speech>c</role_speech></think> d</role_thinking>e",
        None,
        None,
        "T:a|H:b c|T:d|S:e",
        "nested misplaced_system_thinking",
    ),
    case("system thinking inside itself", "<think>a <think>b</think> c</think>d", None, "a b c", "S:d", "nested"),
    case(
        "system thinking inside itself, at its start",
        "<think><think>a</think> b</think>c",
        None,
        "a b",
        "S:c",
        "nested",
    ),
    case(
        "a thought inside an action",
        "<role_action>a <role_thinking>b</role_thinking> c</role_action>d",
        None,
        None,
        "A:a|T:b|A:c|S:d",
        "nested",
    ),
    case(
        "speech inside an action",
        "<role_action>a <role_speech>b</role_speech></role_action>c",
        None,
        None,
        "A:a|S:b c",
        "nested",
    ),
    case(
        "a closing tag pops to its match",
        "<role_thinking>a <role_action>b</role_thinking> c",
        None,
        None,
        "T:a b|S:c",
        "nested unclosed",
    ),
    case(
        "without a match it closes the top layer",
        "a <role_action>b</role_thinking> c",
        None,
        None,
        "S:a|A:b|S:c",
        "stray_close",
    ),
    case("a stray close is dropped", "a</role_action> b", None, None, "S:a b", "stray_close"),
    case("unclosed role thinking", "Ann: a <role_thinking>b\n\nBob: c", "Ann", None, "S:a|T:b\n\nBob: c", "unclosed"),
    case("unclosed system thinking", "<think>a\nAnn: b", None, "a\nAnn: b", "", "unclosed empty"),
    case("an unclosed action stays visible", "a <role_action>b", None, None, "S:a|A:b", "unclosed"),
    case("an empty layer", "a <role_action> </role_action> b", None, None, "S:a b", "empty"),
    case("an open tag at the end", "a <role_thinking>", None, None, "S:a", "unclosed empty"),
    # system blocks
    case("an empty block", "<think>\n</think>Ann: a", "Ann", "", "S:a", "empty"),
    case("a repeated block", f"{BLOCK}\n<think>b</think>Ann: c", "Ann", "plan", "S:c", "repeated_system_thinking"),
    case("a block after an empty one", f"<think></think>{BLOCK}Ann: c", "Ann", "plan", "S:c", "empty"),
    case(
        "a later block",
        f"{BLOCK}Ann: a <think>b</think> c",
        "Ann",
        "plan",
        "S:a|H:b|S:c",
        "misplaced_system_thinking",
    ),
    case("a later block alone", "a <think>b</think>", None, None, "S:a|H:b", "misplaced_system_thinking"),
    case("a block after the label", f"Ann: {BLOCK} a", "Ann", "plan", "S:a", "misplaced_system_thinking"),
    case("white space in a block", "<think>\n a\n\nb \n</think>\n\nc", None, "a\n\nb", "S:c"),
    # the prefill
    case("prefilled", "plan</system_thinking>\nAnn: a", "Ann", "plan", "S:a", prefilled=True),
    case("prefilled, tag repeated", f"{BLOCK}Ann: a", "Ann", "plan", "S:a", prefilled=True),
    case(
        "prefilled, tag repeated twice",
        "<think><think>a</think>b</think>Ann: c",
        "Ann",
        "a b",
        "S:c",
        "nested",
        prefilled=True,
    ),
    case("prefilled, never closed", "Ann: a", None, "Ann: a", "", "unclosed empty", prefilled=True),
    case("prefilled, closed immediately", "</system_thinking>Ann: a", "Ann", "", "S:a", "empty", prefilled=True),
    # white space and joints
    case("words stay apart", "a<role_thinking>b</role_thinking>c", None, None, "S:a|T:b|S:c"),
    case("paragraphs stay", "a\n\n  b ", None, None, "S:a\n\n  b"),
    case("two actions stay two", "<role_action>a</role_action> <role_action>b</role_action>", None, None, "A:a|A:b"),
    case("two thoughts stay two", "<role_think>a</role_think><role_think>b</role_think>c", None, None, "T:a|T:b|S:c"),
    case("speech is one run", "a <role_speech>b</role_speech><role_speech>c</role_speech>", None, None, "S:a b c"),
    case(
        "an element goes on",
        "<role_action>a <role_action>b</role_action> c</role_action>",
        None,
        None,
        "A:a b c",
        "nested",
    ),
    case(
        "an empty element parts two",
        "<role_action>a</role_action><role_speech></role_speech><role_action>b</role_action>",
        None,
        None,
        "A:a|A:b",
        "empty",
    ),
    case(
        "two late blocks stay two",
        "a <think>b</think> <think>c</think>",
        None,
        None,
        "S:a|H:b|H:c",
        "misplaced_system_thinking",
    ),
    case(
        "parts of a tag do not become one",
        "<</role_action>think>a",
        None,
        None,
        f"S:< {ZERO_WIDTH_SPACE}think>a",
        "stray_close",
    ),
    case("an escaped tag is text", f"<{ZERO_WIDTH_SPACE}think>a", None, None, f"S:<{ZERO_WIDTH_SPACE}think>a"),
    case("a lone surrogate", "\ud800 <think>", None, None, "S:\ud800", "unclosed empty"),
    # labels, no cast known
    case("CJK name and colon", "安娜：你好", "安娜", None, "S:你好"),
    case("CJK colon", "Ann：Hello", "Ann", None, "S:Hello"),
    case("space before the colon", "Ann : a", "Ann", None, "S:a"),
    case("no space after the colon", "Ann:a", "Ann", None, "S:a"),
    case("a name with a dot", "Mr. Darcy: Good day.", "Mr. Darcy", None, "S:Good day."),
    case("a name that ends in a dot", "Smith Jr.: a", "Smith Jr.", None, "S:a"),
    case("initials", "J. R. R. T.: a", "J. R. R. T.", None, "S:a"),
    case("a name with particles", "The Wizard of the North: a", "The Wizard of the North", None, "S:a"),
    case("an apostrophe", "Egwene al'Vere: a", "Egwene al'Vere", None, "S:a"),
    case("a numbered role", "First Witch: When?", "First Witch", None, "S:When?"),
    case(
        "only the first colon",
        "Ann: look at this: gold\nthe time: noon",
        "Ann",
        None,
        "S:look at this: gold\nthe time: noon",
    ),
    case("in a speech tag", "<role_speech>Ann: a</role_speech>", "Ann", None, "S:a"),
    case("empty tag in the label", "Ann<role_action></role_action>: a", "Ann", None, "S:a", "empty"),
    case("Environment", "Environment: Wind.", ENVIRONMENT, None, "S:Wind."),
    case("not in an action", "<role_action>Ann: a</role_action>", None, None, "A:Ann: a"),
    case("not after a layer", "<role_action>a</role_action> Ann: b", None, None, "A:a|S:Ann: b"),
    case("not in a second line", "Hello\nAnn: a", None, None, "S:Hello\nAnn: a"),
    case("not over two lines", "Ann\n: a", None, None, "S:Ann\n: a"),
    case("not beyond 60 characters", "A" * 61 + ": a", None, None, "S:" + "A" * 61 + ": a"),
    case("60 characters", "A" * 60 + ": a", "A" * 60, None, "S:a"),
    case("look at this", "look at this: gold", None, None, "S:look at this: gold"),
    case("Look at this", "Look at this: gold", None, None, "S:Look at this: gold"),
    case("Remember", "Remember: gold", None, None, "S:Remember: gold"),
    case("First", "First: gold", None, None, "S:First: gold"),
    case("a contraction", "It's 5: 30", None, None, "S:It's 5: 30"),
    case("a clause", "Ann said: gold", None, None, "S:Ann said: gold"),
    case("a number", "12: 30", None, None, "S:12: 30"),
    case("an address", "http://a.b", None, None, "S:http://a.b"),
    case("punctuation", "Well, Ann: gold", None, None, "S:Well, Ann: gold"),
    case("a Chinese phrase", "你看：金子", None, None, "S:你看：金子"),
    case("a direction, no cast known", "安娜（低声）：走吧", None, None, "S:安娜（低声）：走吧"),
    case("a Chinese verb of speech", "安娜说：走吧", None, None, "S:安娜说：走吧"),
    case("no name at all", ": a", None, None, "S:: a"),
    # labels, cast known
    case("of the cast", "Ann: a", "Ann", None, "S:a", names=("Ann", "Bob")),
    case("not of the cast", "Zoe: a", None, None, "S:Zoe: a", names=("Ann", "Bob")),
    case("Environment beside a cast", "Environment: a", ENVIRONMENT, None, "S:a", names=("Ann",)),
    case("the longest name", "Jon Snow: a", "Jon Snow", None, "S:a", names=("Jon", "Jon Snow")),
    case("the shorter name", "Jon: a", "Jon", None, "S:a", names=("Jon", "Jon Snow")),
    case("the beginning of a name", "Jon S: a", None, None, "S:Jon S: a", names=("Jon Snow",)),
    case(
        "a name no rule would find", "the old man (3): a", "the old man (3)", None, "S:a", names=("the old man (3)",)
    ),
    case("a name with a colon", "Hal: 9: a", "Hal: 9", None, "S:a", names=("Hal: 9", "Hal")),
    case("a name over 60 characters", "n" * 70 + ": a", "n" * 70, None, "S:a", names=("n" * 70,)),
    case("a stop word in the cast", "Look: a", "Look", None, "S:a", names=("Look",)),
    case("the speaker, no cast", "the fox: a", "the fox", None, "S:a", speaker="the fox"),
    case("the speaker beside a cast", "Zoe: a", "Zoe", None, "S:a", names=("Ann",), speaker="Zoe"),
    case("somebody else", "Bob: a", "Bob", None, "S:a", "foreign_speaker", speaker="Ann"),
    case(
        "somebody else of the cast",
        "Bob: a",
        "Bob",
        None,
        "S:a",
        "foreign_speaker",
        speaker="Ann",
        names=("Ann", "Bob"),
    ),
    case(
        "a line of somebody else",
        "Ann: Hi.\nBob: yo\nAnn: again",
        "Ann",
        None,
        "S:Hi.\nBob: yo\nAnn: again",
        "foreign_speaker",
        names=("Ann", "Bob"),
    ),
    case("a line of one's own", "Ann: Hi.\nAnn: again", "Ann", None, "S:Hi.\nAnn: again", names=("Ann", "Bob")),
    case(
        "the world speaks", "Ann: Hi.\nEnvironment: Wind.", "Ann", None, "S:Hi.\nEnvironment: Wind.", "foreign_speaker"
    ),
    case(
        "a name in a line is no label",
        "Ann: Hi.\nBob said: yo",
        "Ann",
        None,
        "S:Hi.\nBob said: yo",
        names=("Ann", "Bob"),
    ),
]


@pytest.mark.parametrize(("text", "kwargs", "expected", "found"), TURNS)
def test_parse(
    text: str, kwargs: dict[str, Any], expected: tuple[str | None, str | None, str], found: set[str]
) -> None:
    turn = parse_turn(text, **kwargs)
    assert shape(turn) == expected
    assert issues(turn) == found
    assert parse_turn(turn.render(), **kwargs) == turn
    stream = TurnStream(**{"prefilled": False, **kwargs})
    for character in text:
        stream.feed(character)
    assert stream.close() == turn
    assert set(stream.close().issues) == set(turn.issues)


CAST: dict[str, Any] = {
    "names": ("Ann", "Bob", "the old man", "安娜", "Mrs. O'Neil", "d’Artagnan", "Αχιλλέας", "Straße", "Weiss"),
    "speaker": "Ann",
}
RESTYLED = [
    ("**Ann:** Hi", "Ann", "S:Hi"),
    ("**Ann**: Hi", "Ann", "S:Hi"),
    ("__Ann__: Hi", "Ann", "S:Hi"),
    ("*Ann*: *sighs* Hi", "Ann", "S:*sighs* Hi"),
    ("***Ann:*** Hi", "Ann", "S:Hi"),
    ("ANN: Hi", "Ann", "S:Hi"),
    ("ANN : Hi", "Ann", "S:Hi"),
    ("[Ann]: Hi", "Ann", "S:Hi"),
    ("**[Ann]**: Hi", "Ann", "S:Hi"),
    ("Ann (whispering): Hi", "Ann", "A:whispering|S:Hi"),
    ("Ann(to Bob: low): Hi", "Ann", "A:to Bob: low|S:Hi"),
    ("**Ann (whispering):** Hi", "Ann", "A:whispering|S:Hi"),
    ("**Ann (whispering)**: Hi", "Ann", "A:whispering|S:Hi"),
    ("**Ann** (whispering): Hi", "Ann", "A:whispering|S:Hi"),
    ("[ANN] (whispering): Hi", "Ann", "A:whispering|S:Hi"),
    ("Ann (nods):", "Ann", "A:nods"),
    ("Ann (nods):\n\nHi", "Ann", "A:nods|S:Hi"),
    ("The old man: Hi", "the old man", "S:Hi"),
    ("安娜（低声）：走吧", "安娜", "A:低声|S:走吧"),
    ("【安娜】：走吧", "安娜", "S:走吧"),
    ("ENVIRONMENT: Wind.", ENVIRONMENT, "S:Wind."),
    ("**Bob:** Hi", "Bob", "S:Hi"),
    ("**Ann** : Hi", "Ann", "S:Hi"),
    ("**Ann :** Hi", "Ann", "S:Hi"),
    ("ANN\u3000：Hi", "Ann", "S:Hi"),
    ("MRS. O’NEIL: Hi", "Mrs. O'Neil", "S:Hi"),
    ("Mrs. O’Neil: Hi", "Mrs. O'Neil", "S:Hi"),
    ("d'Artagnan (bows): Hi", "d’Artagnan", "A:bows|S:Hi"),
    ("ΑΧΙΛΛΈΑΣ: Hi", "Αχιλλέας", "S:Hi"),
    ("STRASSE: Hi", "Straße", "S:Hi"),
    ("**Weiß** (nods): Hi", "Weiss", "A:nods|S:Hi"),
]
# Where a bracket may be a layer, these are no labels.
RESTYLED_WITHOUT_LAYERS = [
    ("[Ann] : Hi", "Ann", "S:Hi"),
    ("Ann (whispering) : Hi", "Ann", "A:whispering|S:Hi"),
    ("**Ann (whispering)** : Hi", "Ann", "A:whispering|S:Hi"),
    ("[Ann (whispering)]: Hi", "Ann", "A:whispering|S:Hi"),
    ("**[Ann (whispering)]** : Hi", "Ann", "A:whispering|S:Hi"),
    ("【安娜（低声）】：走吧", "安娜", "A:低声|S:走吧"),
]


@pytest.mark.parametrize("begin", ["", " \n", f"{BLOCK}\n"])
@pytest.mark.parametrize(
    ("text", "name", "segments", "notation"),
    [
        *((*row, notation) for row in RESTYLED for notation in ("her", "coser")),
        *((*row, "her") for row in RESTYLED_WITHOUT_LAYERS),
    ],
)
def test_labels_as_models_write_them(text: str, name: str, segments: str, begin: str, notation: str) -> None:
    turn = parse_turn(begin + text, notation=notation, **CAST)
    assert shape(turn)[0] == name and shape(turn)[2] == segments
    assert issues(turn) == {"restyled_label"} | ({"foreign_speaker"} if name != "Ann" else set())
    assert not turn.well_formed
    written = turn.render(notation)
    assert written.removeprefix(f"{system_block('plan')}\n").startswith(f"{name}: ")
    again = parse_turn(written, notation=notation, **CAST)
    assert again == turn and Issue.RESTYLED_LABEL not in again.issues
    for size in (1, 2, 3):
        stream = TurnStream(prefilled=False, notation=notation, **CAST)
        events = [e for at in range(0, len(begin + text), size) for e in stream.feed((begin + text)[at : at + size])]
        assert stream.close() == turn and set(stream.close().issues) == set(turn.issues)
        events = [event for event in events + stream.last_events if event.layer is not Layer.SYSTEM_THINKING]
        assert events[0] == TurnEvent("name", name)
        for number, segment in enumerate(turn.segments):
            assert "".join(event.text for event in events if event.segment == number) == segment.text


NO_LABELS = [  # and what CoSER notation makes of them, where it is something else
    ("ann: Hi", None),
    ("**Ann: Hi**", None),
    ("** Ann **: Hi", None),
    ("**Ann* : Hi", None),
    ("[Ann is late]: so?", "T:Ann is late|S:: so?"),
    ("[Ann (late]: so?", "T:Ann (late|S:: so?"),
    ("[Ann (late) is]: so?", "T:Ann (late) is|S:: so?"),
    ("d' Artagnan: Hi", None),
    ("straße: Hi", None),
    ("STRASE: Hi", None),
    ("[Ann]", "T:Ann"),
    ("[Ann", "T:Ann"),
    ("Ann (smiles) Hi: there", "S:Ann|A:smiles|S:Hi: there"),
    (f"Ann ({'a' * 81}): Hi", f"S:Ann|A:{'a' * 81}|S:: Hi"),
    ("Anna (smiles): Hi", "S:Anna|A:smiles|S:: Hi"),
    ("*Ann waves* so: Hi", None),
    ("ANN\n: Hi", None),
    ("(smiles) ANN: Hi", "A:smiles|S:ANN: Hi"),
    ("ZOE: Hi", None),
    ("Hi. ANN: yo", None),
]


@pytest.mark.parametrize(("text", "in_coser"), NO_LABELS)
def test_what_only_looks_like_a_label(text: str, in_coser: str | None) -> None:
    for notation, expected in (("her", f"S:{text}"), ("coser", in_coser or f"S:{text}")):
        turn = parse_turn(text, notation=notation, **CAST)
        assert (turn.name, shape(turn)[2]) == (None, expected)
        assert "restyled_label" not in issues(turn)


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("[Ann] : Hi", "T:Ann|S:: Hi"),
        ("Ann (smiles) : there", "S:Ann|A:smiles|S:: there"),
        ("[Ann (the liar)]: Hi", "T:Ann (the liar)|S:: Hi"),
    ],
)
def test_a_layer_in_coser_notation_is_no_part_of_a_label(text: str, segments: str) -> None:
    turn = parse_turn(text, notation="coser", **CAST)
    assert (turn.name, shape(turn)[2], issues(turn)) == (None, segments, set())
    assert parse_turn(turn.render("her"), **CAST) == parse_turn(turn.render("coser"), notation="coser", **CAST) == turn


SECRETS = [  # a thought inside the stage direction of a label, in CoSER notation
    ("Ann (whispering [I hate him]): hi", "A:whispering|T:I hate him|S:hi", "Ann: (whispering) hi"),
    ("**Ann** (smiles [liar]): hi", "A:smiles|T:liar|S:hi", "Ann: (smiles) hi"),
    ("**Ann (smiles [liar]):** hi", "A:smiles|T:liar|S:hi", "Ann: (smiles) hi"),
    ("[Ann] ([liar] smiles [and fool] on): hi", "T:liar|A:smiles|T:and fool|A:on|S:hi", "Ann: (smiles) (on) hi"),
    ("ANN（低声【我恨他】）：走", "A:低声|T:我恨他|S:走", "Ann: (低声) 走"),
    ("Ann ([all of it]): hi", "T:all of it|S:hi", "Ann: hi"),
    ("Ann (whispering [I hate him): hi", "A:whispering|T:I hate him) hi", "Ann: (whispering)"),
    ("Ann (a] b): hi", "A:a] b|S:hi", "Ann: (a] b) hi"),
    (f"Ann (a [{ZERO_WIDTH_SPACE}b]): hi", "A:a [b]|S:hi", f"Ann: (a [{ZERO_WIDTH_SPACE}b]) hi"),
]


@pytest.mark.parametrize(("text", "segments", "others"), SECRETS)
def test_a_thought_in_a_stage_direction_stays_one(text: str, segments: str, others: str) -> None:
    turn = parse_turn(text, notation="coser", **CAST)
    assert shape(turn) == ("Ann", None, segments)
    assert Issue.RESTYLED_LABEL in turn.issues
    assert turn.render("coser", "others") == others
    assert parse_turn(turn.render("coser"), notation="coser", **CAST) == parse_turn(turn.render(), **CAST) == turn
    for size in (1, 2, 5):
        stream = TurnStream(prefilled=False, notation="coser", **CAST)
        events = [e for at in range(0, len(text), size) for e in stream.feed(text[at : at + size])]
        assert stream.close() == turn and set(stream.close().issues) == set(turn.issues)
        for number, segment in enumerate(turn.segments):
            told = [event for event in events + stream.last_events if event.segment == number]
            assert "".join(event.text for event in told) == segment.text
            assert {event.layer for event in told} == {segment.layer}


def test_other_forms_of_a_label_need_known_names() -> None:
    for text in ("**Ann:** Hi", "[Ann]: Hi", "Ann (whispering): Hi"):
        assert shape(parse_turn(text)) == (None, None, f"S:{text}")
        assert parse_turn(text, speaker="Ann").name == parse_turn(text, names=["Ann"]).name == "Ann"
    assert parse_turn("ANN: Hi").name == "ANN"


def test_the_plain_form_and_the_longer_name_come_first() -> None:
    assert shape(parse_turn("Ann (old): Hi", names=["Ann", "Ann (old)"])) == ("Ann (old)", None, "S:Hi")
    assert shape(parse_turn("ANN LEE: Hi", names=["Ann", "Ann Lee"])) == ("Ann Lee", None, "S:Hi")
    assert parse_turn("ANN: Hi", names=["Ann", "ANN"]).issues == ()
    assert parse_turn("**ANN:** Hi", names=["Ann", "ann"], speaker="ann").name == "ann"


LINES_OF_OTHERS = [
    "**Bob:** yo",
    "  BOB: yo",
    "[Bob]: yo",
    "Bob (laughs): yo",
    "**Bob** (laughs): yo",
    "安娜（笑）：走",
    "[Bob] : yo",
    "**Bob** : yo",
    "Bob (laughs) : yo",
    "[Bob (laughs)]: yo",
    "Mrs. O’Neil: yo",
    "D'ARTAGNAN: yo",
    "ΑΧΙΛΛΈΑΣ (low): yo",
    "STRASSE: yo",
    "Weiß (nods): yo",
]
LINES_OF_NO_OTHERS = [
    "bob: yo",
    "**Bob laughs:** yo",
    "**Ann:** yo",
    "ANN (low): yo",
    "so BOB: yo",
    "[Ann] : yo",
    "Bobs: a",
    "(Bob: yo)",
    "[Bob: yo]",
]


@pytest.mark.parametrize(
    ("line", "foreign"), [*((x, True) for x in LINES_OF_OTHERS), *((x, False) for x in LINES_OF_NO_OTHERS)]
)
def test_lines_of_others_as_models_write_them(line: str, foreign: bool) -> None:
    text = f"Ann: Hi.\n{line}"
    turn = parse_turn(text, **CAST)
    assert issues(turn) == ({"foreign_speaker"} if foreign else set())
    assert foreign_start("Hi.\n" + line, CAST["names"], "Ann") == (4 if foreign else None)
    assert turn.segments[0].text == f"Hi.\n{line}"
    in_coser = {"notation": "coser", **CAST}
    turn = parse_turn(text, **in_coser)
    assert issues(turn) == ({"foreign_speaker"} if foreign else set())
    for size in (1, 4):
        assert set(streamed(text, size, **in_coser).issues) == set(turn.issues)


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("Ann: hi\nBob (whispering [I hate her]): yo", True),
        ("Ann: (nods)\n(bows)\n[Bob]: yo", True),
        ("Ann: hi [no\nBob (x): yo]", False),
        ("Ann: (nods\nBob (x): yo)", False),
        ("Ann: hi\n[no] Bob (x): yo", False),
        ("Ann: hi\n<role_thinking>\nBob (x): yo</role_thinking> ho", False),
        ("Ann: hi\n<role_thinking>no</role_thinking>[Bob]: yo", False),
        ("Ann (Bob: low): hi", False),
        (f"Ann: hi\n[{ZERO_WIDTH_SPACE}Bob]: yo", True),
        ("[Bob]: yo", True),
    ],
)
def test_lines_of_others_in_coser_notation_begin_outside_layers(text: str, foreign: bool) -> None:
    turn = parse_turn(text, notation="coser", **CAST)
    assert (Issue.FOREIGN_SPEAKER in turn.issues) is foreign
    for size in (1, 3):
        assert set(streamed(text, size, notation="coser", **CAST).issues) == set(turn.issues)


@pytest.mark.parametrize("tag", sorted(TAGS))
def test_legacy_tags_are_read_and_never_written(tag: str) -> None:
    turn = parse_turn(f"a <{tag.upper()}>b</ {tag} > c")
    written = re.findall(r"</?(\w+)>", turn.render() + turn.render("coser"))
    assert set(written) <= {layer.value for layer in Layer} - {Layer.SPEECH.value}
    assert turn.text_of([TAGS[tag]]).split()[-1 if tag != "role_speech" else 1] == "b"


COSER = [
    case("thought, action, speech", "[I must.] (smiles) Good day.", None, None, "T:I must.|A:smiles|S:Good day."),
    case("label", "Ann: [a] b (c)", "Ann", None, "T:a|S:b|A:c"),
    case("nested thought", "[a [b] c] d", None, None, "T:a [b] c|S:d"),
    case("nested action", "(a (b) c) d", None, None, "A:a (b) c|S:d"),
    case("parentheses in a thought", "[a (b) c] d", None, None, "T:a (b) c|S:d"),
    case("a thought in an action", "(a [b] c) d", None, None, "A:a|T:b|A:c|S:d", "nested"),
    case("two lines", "[a\nb] c", None, None, "T:a\nb|S:c"),
    case("unclosed thought", "a [b", None, None, "S:a|T:b", "unclosed"),
    case("unclosed inner thought", "[a [b] c", None, None, "T:a [b] c", "unclosed"),
    case("unclosed action", "a (b", None, None, "S:a|A:b", "unclosed"),
    case("stray brackets are text", "a ] b ) c", None, None, "S:a ] b ) c"),
    case("the wrong bracket is text", "(a] b) c", None, None, "A:a] b|S:c"),
    case("empty brackets", "() [] a", None, None, "S:a", "empty"),
    case("tags as well", "<think>p</think>[a] <role_action>b</role_action>", None, "p", "T:a|A:b"),
    case("brackets in tags are text", "<role_thinking>a [b] (c)</role_thinking>", None, None, "T:a [b] (c)"),
    case("a tag in a thought", "[a <role_action>b</role_action> c] d", None, None, "T:a b c|S:d", "nested"),
    case(
        "tags in tags in a thought",
        "[a <role_action>b <role_speech>c <role_action>d</role_action></role_speech></role_action> e] f",
        None,
        None,
        "T:a b c d e|S:f",
        "nested",
    ),
    case("escaped bracket", f"a [{ZERO_WIDTH_SPACE}b] ({ZERO_WIDTH_SPACE}c", None, None, "S:a [b] (c"),
    case("smile", "Hi :)", None, None, "S:Hi :)"),
    case("full-width brackets", "【他没来】（合上伞）走吧。［真冷］", None, None, "T:他没来|A:合上伞|S:走吧。|T:真冷"),
    case("a label before them", "安娜：（点灯）谁？", "安娜", None, "A:点灯|S:谁？"),
    case("of two widths", "（合上伞)走吧。[真冷】", None, None, "A:合上伞|S:走吧。|T:真冷"),
    case("one in another of its kind", "【他（也许）说过[一次]】走", None, None, "T:他（也许）说过[一次]|S:走"),
    case("a round one that is not closed", "走（合上", None, None, "S:走|A:合上", "unclosed"),
    case("an end without a beginning", "一）看门，二】走", None, None, "S:一）看门，二】走"),
    case("an empty one", "（）走", None, None, "S:走", "empty"),
    case(
        "one that is escaped",
        f"（{ZERO_WIDTH_SPACE}笑）走【{ZERO_WIDTH_SPACE}旁白】",
        None,
        None,
        "S:（笑）走【旁白】",
    ),
    case("in a tag", "<role_thinking>他【又】来（了）</role_thinking>走", None, None, "T:他【又】来（了）|S:走"),
]


@pytest.mark.parametrize(("text", "kwargs", "expected", "found"), COSER)
def test_parse_coser(
    text: str, kwargs: dict[str, Any], expected: tuple[str | None, str | None, str], found: set[str]
) -> None:
    turn = parse_turn(text, notation="coser")
    assert shape(turn) == expected
    assert issues(turn) == found
    assert parse_turn(turn.render("coser"), notation="coser") == turn
    assert parse_turn(turn.render("her")) == turn


def test_brackets_are_text_in_her_notation() -> None:
    assert shape(parse_turn("[a] (b) c")) == (None, None, "S:[a] (b) c")
    assert shape(parse_turn("【a】（b）c")) == (None, None, "S:【a】（b）c")


def test_coser_notation_is_written_with_one_kind_of_brackets() -> None:
    turn = parse_turn("安娜：【他没来】（合上伞）走吧。", notation="coser")
    assert turn.render("coser") == "安娜: [他没来] (合上伞) 走吧。"
    assert turn.render("coser", "others") == "安娜: (合上伞) 走吧。"
    said = parse_turn("安娜：书名是【雨（上）】。")
    assert said.render("coser") == f"安娜: 书名是【{ZERO_WIDTH_SPACE}雨（{ZERO_WIDTH_SPACE}上）】。"


FULL = (
    "<think>plan</think>Ann: <role_think>a</role_think><ROLE_ACTION>b</ROLE_ACTION>c "
    "<role_thinking>d</role_thinking>e<role_speech>f</role_speech><role_thinking>g</role_thinking>"
)
RENDERED = [
    (
        "her",
        "full",
        "<system_thinking>\nplan\n</system_thinking>\n"
        "Ann: <role_thinking>a</role_thinking> <role_action>b</role_action> c "
        "<role_thinking>d</role_thinking> e f <role_thinking>g</role_thinking>",
    ),
    (
        "her",
        "self",
        "Ann: <role_thinking>a</role_thinking> <role_action>b</role_action> c "
        "<role_thinking>d</role_thinking> e f <role_thinking>g</role_thinking>",
    ),
    ("her", "others", "Ann: <role_action>b</role_action> c e f"),
    ("coser", "full", "<system_thinking>\nplan\n</system_thinking>\nAnn: [a] (b) c [d] e f [g]"),
    ("coser", "self", "Ann: [a] (b) c [d] e f [g]"),
    ("coser", "others", "Ann: (b) c e f"),
]


@pytest.mark.parametrize(("notation", "view", "expected"), RENDERED)
def test_render(notation: str, view: str, expected: str) -> None:
    turn = parse_turn(FULL)
    assert turn.render(notation, view) == expected
    assert turn.render(notation, View(view)) == expected
    if notation == "her" and view != "full":
        assert view_text(FULL, view) == expected


def test_render_defaults_to_her_full() -> None:
    assert parse_turn(FULL).render() == RENDERED[0][2]


VIEWS = [
    ("nothing hidden", "Ann: a <role_action>b</role_action>", "Ann: a <role_action>b</role_action>", None),
    ("the colon is the author's", "Ann：a", "Ann：a", None),
    ("a thought between words", "Hi<role_thinking>x</role_thinking>there",
     "Hi there", "Hi <role_thinking>x</role_thinking> there"),
    ("a later system block", "Hi <think>x</think> there", "Hi there", "Hi there"),
    ("actions that a thought parted", "<role_action>a</role_action><think>x</think><role_action>b</role_action>",
     "<role_action>a</role_action> <role_action>b</role_action>", None),
    ("actions that a thought parted, a line each",
     "<role_action>a</role_action>\n<role_thinking>x</role_thinking>\n<role_action>b</role_action>",
     "<role_action>a</role_action>\n\n<role_action>b</role_action>",
     "<role_action>a</role_action>\n<role_thinking>x</role_thinking>\n<role_action>b</role_action>"),
    ("a thought inside an action", "<role_action>a <role_thinking>x</role_thinking> b</role_action>",
     "<role_action>a</role_action> <role_action>b</role_action>",
     "<role_action>a</role_action> <role_thinking>x</role_thinking> <role_action>b</role_action>"),
    ("thoughts that a system block parted", "<role_thinking>x<think>y</think>z</role_thinking>",
     "", "<role_thinking>x</role_thinking> <role_thinking>z</role_thinking>"),
    ("a break between two thoughts", "a <role_thinking>x</role_thinking>\n<role_thinking>y</role_thinking> b",
     "a\nb", "a <role_thinking>x</role_thinking>\n<role_thinking>y</role_thinking> b"),
    ("an unclosed thought", "Hi <role_thinking>x", "Hi", "Hi <role_thinking>x</role_thinking>"),
    ("an unclosed system block", "Hi <think>x", "Hi", "Hi"),
    ("all is thought", "<role_thinking>x</role_thinking>", "", "<role_thinking>x</role_thinking>"),
    ("a repeated block", "<think>x</think><think>y</think>Hi", "Hi", "Hi"),
    ("a block in a block", "<think><think>x</think>y</think>Hi", "Hi", "Hi"),
    ("legacy tags", "<thought>x</thought><role_speech>Hi</role_speech>", "Hi", "Hi"),
    ("speakers in paragraphs",
     "Ann: a\n\n\n<role_action>b</role_action>\nBob: <role_thinking>x</role_thinking>\n\nCy: c",
     "Ann: a\n\n<role_action>b</role_action>\nBob:\n\nCy: c",
     "Ann: a\n\n<role_action>b</role_action>\nBob: <role_thinking>x</role_thinking>\n\nCy: c"),
    ("line breaks on both sides of a thought", "a\n<think>x</think>\nb", "a\n\nb", None),
    ("line breaks inside tags", "a <role_action>\nb\n</role_action> c", "a <role_action>b</role_action> c", None),
    ("line breaks in front", "\n\n<think>x</think>\n\na", "a", None),
    ("actions on two lines", "<role_action>a</role_action>\n<role_action>b</role_action>",
     "<role_action>a</role_action>\n<role_action>b</role_action>", None),
    ("parts of a tag", "<<think>x</think>role_action>a", f"< {ZERO_WIDTH_SPACE}role_action>a", None),
    ("paragraphs", "a\n\nb", "a\n\nb", None),
    ("empty", "", "", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "others", "own"), [pytest.param(*row[1:], id=row[0]) for row in VIEWS])
def test_view_text(text: str, others: str, own: str | None) -> None:
    assert view_text(text, "others") == others
    assert view_text(text, View.SELF) == (others if own is None else own)


def test_split_system() -> None:
    assert split_system("<think> plan </think>\nAnn: <role_thinking>a</role_thinking>b") == (
        "plan",
        "Ann: <role_thinking>a</role_thinking> b",
    )
    assert split_system("Ann: b") == ("", "Ann: b")


PATTERNS = [
    ("", ""),
    ("a", "S"),
    ("<think>p</think>a", "S"),
    ("<role_thinking>t</role_thinking><role_action>a</role_action><role_speech>s</role_speech>", "TAS"),
    ("<role_thinking>t</role_thinking> a <role_action>b</role_action> c <role_thinking>d</role_thinking>", "TSAST"),
    ("a <think>misplaced</think> b", "S"),
    ("<role_thinking>a <think>b</think> c</role_thinking>", "T"),
    ("<role_action>a</role_action> <role_action>b</role_action> c <role_action>d</role_action>", "ASA"),
]


@pytest.mark.parametrize(("text", "expected"), PATTERNS)
def test_pattern(text: str, expected: str) -> None:
    turn = parse_turn(text)
    assert turn.pattern == pattern_of(turn.segments) == expected


WELL_FORMED = [
    ("as it should be", f"{BLOCK}Ann: Hi", {"speaker": "Ann"}, True),
    ("prefilled", "plan</system_thinking>Ann: Hi", {"speaker": "Ann", "prefilled": True}, True),
    ("action only", f"{BLOCK}Ann: <role_action>nods</role_action>", {"speaker": "Ann"}, True),
    ("no system block", "Ann: Hi", {"speaker": "Ann"}, False),
    ("empty system block", "<think></think>Ann: Hi", {"speaker": "Ann"}, False),
    ("unclosed system block", "<think>plan Ann: Hi", {"speaker": "Ann"}, False),
    ("no label", f"{BLOCK}Hi", {"speaker": "Ann"}, False),
    ("another's label", f"{BLOCK}Bob: Hi", {"speaker": "Ann"}, False),
    ("thoughts only", f"{BLOCK}Ann: <role_thinking>a</role_thinking>", {"speaker": "Ann"}, False),
    ("nothing after the label", f"{BLOCK}Ann:", {"speaker": "Ann"}, False),
    ("unclosed action", f"{BLOCK}Ann: <role_action>nods", {"speaker": "Ann"}, False),
    (
        "nested",
        f"{BLOCK}Ann: <role_action>a <role_thinking>b</role_thinking></role_action>",
        {"speaker": "Ann"},
        False,
    ),
    ("stray close", f"{BLOCK}Ann: Hi</role_action>", {"speaker": "Ann"}, False),
    ("second block", f"{BLOCK}Ann: Hi {BLOCK}", {"speaker": "Ann"}, False),
    ("repeated block", f"{BLOCK}{BLOCK}Ann: Hi", {"speaker": "Ann"}, False),
    ("unknown tag", f"{BLOCK}Ann: <b>Hi</b>", {"speaker": "Ann"}, False),
    ("line of another", f"{BLOCK}Ann: Hi\nBob: yo", {"speaker": "Ann", "names": ("Ann", "Bob")}, False),
]


@pytest.mark.parametrize(("text", "kwargs", "expected"), [pytest.param(*row[1:], id=row[0]) for row in WELL_FORMED])
def test_well_formed(text: str, kwargs: dict[str, Any], expected: bool) -> None:
    assert parse_turn(text, **kwargs).well_formed is expected


MEANT_AS_TAGS = [
    *(
        "<role-thinking>",
        "</Role-Thinking>",
        "<system thinking>",
        "<systemThinking x>",
        "< role  action >",
        "</ speech >",
    ),
    *("<思考>", "</内心独白>", "</inner voice>", "<b>", "<a/>", "<a:b>", '<i class="x">', "<role_thinking: sad>"),
    *("<role_thinkng>", "<role_", "</role", "<system_thin", "<long_role_thinking", "<rol"),
]
ORDINARY = [
    *("a < b", "a<b", "a < b > c", "x <- y", "x -> y", "I <3 you", "</3", "<", "</", "< role", "a <s"),
    *(
        "«a»",
        "‹a›",
        "〈思考〉",
        "《红楼梦》",
        "<not a tag>",
        "<Stop!>",
        "<Hello.>",
        "<“Hi”>",
        ">_<",
        "<_<",
        "<<",
        "->>",
    ),
    *(
        f"<{ZERO_WIDTH_SPACE}think>",
        f"<{ZERO_WIDTH_SPACE}/role_action>",
        "the role_thinking",
        "<http://a.b>",
        "<=",
        "<12>",
    ),
]


@pytest.mark.parametrize("layer", ["{}", "<role_thinking>{}</role_thinking>Hi", "<role_action>{}</role_action>"])
@pytest.mark.parametrize(
    ("text", "expected"), [*((text, True) for text in MEANT_AS_TAGS), *((text, False) for text in ORDINARY)]
)
def test_what_was_meant_as_a_tag_is_noticed_and_kept(text: str, expected: bool, layer: str) -> None:
    whole = f"{BLOCK}Ann: " + layer.format(f"so {text}")
    turn = parse_turn(whole, speaker="Ann")
    assert issues(turn) == ({"unknown_tag"} if expected else set())
    assert turn.well_formed is not expected
    stream = TurnStream(prefilled=False, speaker="Ann")
    for character in whole:
        stream.feed(character)
    assert stream.close() == turn and stream.close().issues == turn.issues
    assert f"so {text}" in [segment.text for segment in turn.segments]


def test_issues_origin_and_line_breaks_do_not_count_in_equality() -> None:
    one = parse_turn("Ann: a <role_thinking>b", origin_id=(1, 2))
    other = parse_turn("Ann: a <role_thinking>b</role_thinking>")
    assert one.issues == (Issue.UNCLOSED,) and other.issues == () and one.origin_id == (1, 2)
    assert one == other and hash(one) == hash(other)
    assert one != parse_turn("Ann: a <role_thinking>c")
    assert one == parse_turn("Ann: a\n\n<role_thinking>b")


def test_a_turn_made_by_hand_renders_and_escapes() -> None:
    turn = Turn(
        "Mr. (Old) Fox",
        "see <think>",
        (
            Segment(Layer.SPEECH, "say </role_action> (loud)"),
            Segment(Layer.ROLE_THINKING, "a [1] b"),
            Segment(Layer.ROLE_THINKING, " c] "),
            Segment(Layer.ROLE_ACTION, "[d] (e"),
        ),
    )
    for notation in ("her", "coser"):
        back = parse_turn(turn.render(notation), notation=notation, names=[turn.name or ""])
        assert back.name == turn.name
        assert back.pattern == "STA"
        assert not back.issues
        words = " ".join(segment.text for segment in back.segments).replace(ZERO_WIDTH_SPACE, "")
        assert words == "say </role_action> (loud) a [1] b c] [d] (e"
        assert (back.system_thinking or "").replace(ZERO_WIDTH_SPACE, "") == "see <think>"


@pytest.mark.parametrize("tag", [*sorted(TAGS), "Think", " role_action\t", "/ think "])
def test_escape_tags(tag: str) -> None:
    for written in (f"<{tag}>", f"</{tag.removeprefix('/')}>"):
        escaped = escape_tags(f"a {written} b")
        assert escaped == f"a <{ZERO_WIDTH_SPACE}{written[1:]} b"
        assert escape_tags(escaped) == escaped
        assert view_text(escaped, "others") == escaped


def test_escape_leaves_other_text_alone() -> None:
    for text in ("", "<b>", "1 < 2", "<think", "<role_action/>", "<|im_start|>"):
        assert escape_tags(text) == text


NAMES = ["Ann", "Mr. Darcy", "Dr. Watson", "O'Brien", "D'Artagnan", "Jean-Luc", "First Witch", "Anna-Maria of Köln"]
NAMES_CJK = ["安娜", "王熙凤", "ジョン"]
NOT_NAMES = ["", "look at this", "the end", "Listen", "That’s it", "12", "Wait! Ann", "Ann, Bob", '"Ann"', "Chapter 5"]
NOT_NAMES_EITHER = ["你看", "安娜说", "...", "Hello", "A" * (MAX_LABEL + 1), "One Two Three Four Five Six Seven"]


@pytest.mark.parametrize("name", NAMES + NAMES_CJK)
def test_looks_like_a_name(name: str) -> None:
    assert looks_like_name(name)


@pytest.mark.parametrize("text", NOT_NAMES + NOT_NAMES_EITHER)
def test_does_not_look_like_a_name(text: str) -> None:
    assert not looks_like_name(text)


def test_stream_events() -> None:
    stream = TurnStream(speaker="Ann", names=["Ann", "Bob"])
    chunks = [" Ann", " stalls.\n</sys", "tem_thinking>\nA", "nn: <role_th", "inking>No.</role_thinking>T", "ea?", " "]
    events = [stream.feed(chunk) for chunk in chunks]
    system, thought, speech = Layer.SYSTEM_THINKING, Layer.ROLE_THINKING, Layer.SPEECH
    assert events == [
        [TurnEvent("text", "Ann", system)],
        [TurnEvent("text", " stalls.", system)],
        [],
        [TurnEvent("name", "Ann")],
        [TurnEvent("text", "No.", thought, 0), TurnEvent("text", "T", speech, 1)],
        [TurnEvent("text", "ea?", speech, 1)],
        [],
    ]
    turn = stream.close()
    assert turn.well_formed and stream.last_events == [] and stream.close() is turn


def test_stream_close_gives_what_was_held_back() -> None:
    stream = TurnStream(prefilled=False)
    assert stream.feed("Hello <role_act") == []
    assert stream.close() == parse_turn("Hello <role_act")
    assert [event.text for event in stream.last_events] == ["Hello <role_act"]


def test_streams_do_not_share_events() -> None:
    one, other = TurnStream(), TurnStream()
    one.feed("a</think>b")
    one.close()
    assert other.last_events == []


def test_stream_is_prefilled_by_default() -> None:
    stream = TurnStream()
    stream.feed("plan</system_thinking>Hi")
    assert stream.close().system_thinking == "plan"


def test_visible_runs_and_render_segments() -> None:
    segments = parse_turn("a <think>b</think> c <role_thinking>d</role_thinking>").segments
    assert render_segments(visible_runs(segments, View.OTHERS)) == "a c"
    assert render_segments(visible_runs(segments, View.SELF), "coser") == "a c [d]"
    assert system_block("") == "<system_thinking>\n</system_thinking>"


def test_errors_say_what_was_got() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        parse_turn(None)  # type: ignore[arg-type]
    for make in (
        lambda: parse_turn("", notation="xml"),
        lambda: TurnStream(notation="xml"),
        lambda: Turn().render("xml"),
    ):
        with pytest.raises(ValueError, match="'xml'"):
            make()
    with pytest.raises(ValueError, match="nobody"):
        Turn().render(view="nobody")
    with pytest.raises(ValueError, match="nobody"):
        view_text("", "nobody")
    stream = TurnStream()
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        stream.feed("a")
