"""Hostile text: whatever a model or a visitor writes, parsing it takes linear time.

Times are processor times of this process, best of several runs, so that a busy machine does not fail the tests.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from her_hf.dual_layer import Turn, TurnStream, View, escape_tags, parse_turn, split_system, view_text
from her_hf.dual_layer.scanner import has_unknown_tag
from her_hf.scenes.readers.tavern import starred_to_actions

MEGABYTE = 1_000_000
SECONDS_PER_MEGABYTE = 10.0  # measured: 0.1 to 1, and 3 for bracketed actions; a busy CI machine is slower
MAX_RATIO = 9.0  # four times the text: 4 if linear, 16 if quadratic
CAST = ("Ann", "Bob", "Mr. Darcy")

UNITS = {
    "unclosed system thinking": "<system_thinking>",
    "unclosed role thinking": "<role_thinking>a ",
    "unclosed actions": "<role_action>",
    "angles": "<",
    "angles and spaces": "< ",
    "closing angles": ">",
    "half tags": "<role_thinking ",
    "slashes": "</",
    "stray closes": "</role_thinking>",
    "wrong closes": "<role_thinking></role_action>",
    "many segments": "<role_action>a</role_action>b",
    "repeated blocks": "<think>a</think>",
    "two kinds nested": "<think>a<role_thinking>b",
    "unknown tags": "<b>",
    "half unknown tags": "<b ",
    "unknown closes": "</ b ",
    "attributes": "<b c = ",
    "spaces in tags": "<   /   ",
    "cut tags": "<role_",
    "colons": "a: ",
    "labels": "Bob:\n",
    "half labels": "**Bob (",
    "labels in bold": "**BOB (x)**\n",
    "labels and thoughts": "\nBob ([x] y):",
    "labels and spaces": "\nBob  (x)  ",
    "open directions": "\nBob (",
    "directions": "\nBob (x)",
    "spaces": " ",
    "newlines": "\n",
    "words": "so it goes ",
    "brackets": "[(",
    "one kind of bracket": "[",
    "closing brackets": ")]",
    "bracketed actions": "(a)b",
    "escaped brackets": "[\u200b",
    "brackets and tags": "[<role_action>",
    "full-width brackets": "【（",
    "mixed brackets": "（a)b【",
}


def hostile(name: str, size: int) -> str:
    return "Ann" + UNITS[name] * (size // len(UNITS[name]))


def nested(size: int) -> str:
    """Opens as many tags as fit, then closes them in the wrong order, then with tags that never were open."""
    depth = size // 100
    opened = "<role_action>" * depth + "<role_thinking>" * depth
    return opened + "</role_action>" * depth + "</role_thinking>" * depth + "</system_thinking>" * depth


def seconds(work: Callable[[], object], runs: int = 1) -> float:
    """Best of some runs, without the garbage collector: its passes cost what the other tests left on the heap."""
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(times)


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """Four times the text takes about four times as long; times too small to compare count as a hundredth second."""
    short, long = seconds(lambda: work(size), 3), seconds(lambda: work(4 * size), 2)
    if long > MAX_RATIO * max(short, 0.01):  # once more, in case the machine was disturbed
        short, long = seconds(lambda: work(size), 5), seconds(lambda: work(4 * size), 5)
    assert long <= MAX_RATIO * max(short, 0.01), f"{size} characters: {short:.3f} s, four times that: {long:.3f} s"


def stream_by_character(text: str, notation: str = "her") -> Turn:
    stream = TurnStream(notation=notation, prefilled=False, names=CAST)
    for character in text:
        stream.feed(character)
    return stream.close()


BRACKETED = sorted(name for name, unit in UNITS.items() if set(unit) & set("[]()【（"))


@pytest.mark.parametrize(
    ("name", "notation"), [*((n, "her") for n in sorted(UNITS)), *((n, "coser") for n in BRACKETED)]
)
def test_a_megabyte_is_parsed_in_seconds(name: str, notation: str) -> None:
    text = hostile(name, MEGABYTE)
    assert seconds(lambda: parse_turn(text, notation=notation, names=CAST, speaker="Ann")) < SECONDS_PER_MEGABYTE


@pytest.mark.parametrize("name", ["brackets", "one kind of bracket", "closing brackets", "escaped brackets"])
def test_brackets_that_are_text_are_cheap(name: str) -> None:
    """They are taken together: one by one they took six times as long as as much text in tags."""
    text, tags = hostile(name, MEGABYTE // 4), hostile("many segments", MEGABYTE // 4)
    limit = 3 * seconds(lambda: parse_turn(tags, notation="coser"), 3)
    assert seconds(lambda: parse_turn(text, notation="coser"), 3) < limit


@pytest.mark.parametrize("notation", ["her", "coser"])
@pytest.mark.parametrize("name", sorted(UNITS))
def test_parse_is_linear(name: str, notation: str) -> None:
    assert_linear(lambda size: parse_turn(hostile(name, size), notation=notation, names=CAST), 8_000)


@pytest.mark.parametrize("name", sorted(UNITS))
def test_render_and_views_are_linear(name: str) -> None:
    def work(size: int) -> None:
        text = hostile(name, size)
        turn = parse_turn(text, notation="coser")
        for notation in ("her", "coser"):
            for view in View:
                turn.render(notation, view)
        view_text(text, "others")
        split_system(text)
        escape_tags(text)

    assert_linear(work, 4_000)


@pytest.mark.parametrize("unit", ["“", "”", '"', "*", "*a ", "*a", "**", '"\n', "“*a", "“”", "*“\n"])
def test_greetings_of_cards_are_read_in_linear_time(unit: str) -> None:
    assert_linear(lambda size: starred_to_actions(unit * (size // len(unit))), 16_000)


@pytest.mark.parametrize("unit", ["<a ", "<a" + " " * 30, "<" + " " * 30, "</", "<a-", "<a:b", "<a b=", "<long_role_"])
@pytest.mark.parametrize("end", ["", " " * 1000, "a" * 1000, ":a" * 500, "="])
def test_tags_that_were_meant_are_looked_for_in_linear_time(unit: str, end: str) -> None:
    assert_linear(lambda size: has_unknown_tag(unit * (size // len(unit)) + end * (size // 1000)), 16_000)


@pytest.mark.parametrize("notation", ["her", "coser"])
@pytest.mark.parametrize("name", ["angles and spaces", "bracketed actions", "half tags", "spaces", "two kinds nested"])
def test_a_stream_of_characters_is_linear(name: str, notation: str) -> None:
    assert_linear(lambda size: stream_by_character(hostile(name, size), notation), 5_000)


@pytest.mark.parametrize("name", ["angles", "many segments", "spaces", "unclosed role thinking"])
def test_a_stream_of_100_kb_by_character(name: str) -> None:
    text = hostile(name, 100_000)
    turns: list[Turn] = []
    assert seconds(lambda: turns.append(stream_by_character(text))) < SECONDS_PER_MEGABYTE
    assert turns == [parse_turn(text, names=CAST)]


@pytest.mark.parametrize("begin", ["A", "<think", "<role_thinking>a"])
def test_a_megabyte_of_white_space_by_character(begin: str) -> None:
    """White space waits until text follows it: collecting it must not copy it each time."""
    text = begin + " " * MEGABYTE + "b"
    stream = TurnStream(prefilled=False)
    assert seconds(lambda: [stream.feed(character) for character in text]) < SECONDS_PER_MEGABYTE / 2
    assert stream.close() == parse_turn(text)


@pytest.mark.parametrize(("begin", "unit"), [("Ann", " "), ("**Ann", "\t"), ("[Ann]", " "), ("Ann (x)", "\u3000")])
def test_white_space_where_a_label_could_go_on_is_linear(begin: str, unit: str) -> None:
    def work(size: int) -> None:
        stream = TurnStream(notation="coser", prefilled=False, names=CAST)
        for character in begin + unit * size:
            stream.feed(character)

    assert_linear(work, 20_000)
    text = begin + unit * 20_000 + ":b"
    assert stream_by_character(text, "coser") == parse_turn(text, notation="coser", names=CAST)


def test_deep_nesting_then_closes() -> None:
    assert_linear(lambda size: parse_turn(nested(size)), 100_000)
    text = nested(MEGABYTE)
    assert seconds(lambda: parse_turn(text)) < SECONDS_PER_MEGABYTE


def test_unclosed_tags_hide_their_text_however_many() -> None:
    turn = parse_turn("Ann: Hi " + "<role_thinking>" * 100_000 + "secret")
    assert turn.render(view="others") == "Ann: Hi"
    assert turn.render(view="self").count("secret") == 1


def test_long_names_and_a_long_cast_stay_cheap() -> None:
    cast = [f"Name {number}" for number in range(200)]
    text = "Name 1: Hi " + "Name 2 says: so\n" * 60_000
    assert seconds(lambda: parse_turn(text, names=cast)) < SECONDS_PER_MEGABYTE
    assert seconds(lambda: stream_by_character("N" * 20_000)) < SECONDS_PER_MEGABYTE
