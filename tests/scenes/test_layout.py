"""Line breaks outside tags: a message may hold several speakers, each in a paragraph."""

import pytest

from her_hf.dual_layer import parse_turn, view_text


@pytest.mark.parametrize(
    ("text", "view", "expected"),
    [
        (
            "Ann: <role_action>nods</role_action>\n\nBob: yo",
            "others",
            "Ann: <role_action>nods</role_action>\n\nBob: yo",
        ),
        ("Ann: hi\n\n<role_thinking>x</role_thinking>\n\nBob: yo", "others", "Ann: hi\n\nBob: yo"),
        ("Ann: hi\n<role_thinking>x</role_thinking>\nyo", "others", "Ann: hi\n\nyo"),
        ("hi\n<role_action>nods</role_action> yo", "others", "hi\n<role_action>nods</role_action> yo"),
        ("hi \n\n\n\n <role_action>nods</role_action>", "others", "hi\n\n<role_action>nods</role_action>"),
        ("hi <role_action>\n\nnods\n\n</role_action> yo", "others", "hi <role_action>nods</role_action> yo"),
        ("hi <role_thinking>\n\nx\n\n</role_thinking> yo", "self", "hi <role_thinking>x</role_thinking> yo"),
        ("\n\n<think>plan</think>\n\nhi", "self", "hi"),
        ("a <\n</role_action>role_thinking> b", "others", "a <\n\u200brole_thinking> b"),
        ("hi\n<role_speech>\nyo</role_speech>", "others", "hi\n\nyo"),
    ],
)
def test_breaks_outside_tags_are_kept(text: str, view: str, expected: str) -> None:
    assert view_text(text, view) == expected
    assert view_text(expected, view) == expected


def test_breaks_are_layout_and_not_compared() -> None:
    one, two = (
        parse_turn("Ann: hi <role_action>nods</role_action>"),
        parse_turn("Ann: hi\n\n<role_action>nods</role_action>"),
    )
    assert one == two
    assert one.render() != two.render()
    assert parse_turn(two.render()).render() == two.render()
