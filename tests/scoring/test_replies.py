"""Judge-free figures, against values computed by hand."""

import math

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.scoring.replies import (
    SampledReply,
    is_well_formed,
    layer_lengths,
    pattern_statistics,
    score_replies,
    stays_in_role,
)

GOOD = "Ann stalls.\n</system_thinking>\nAnn: <role_thinking>Not now.</role_thinking> Tea?"


def reply(text: str, ended: bool = True) -> SampledReply:
    return SampledReply("<system_thinking>\n" + text, speaker="Ann", names=("Ann", "Bob"), ended=ended)


@pytest.mark.parametrize(
    ("text", "ended", "well_formed", "own_role"),
    [
        (GOOD, True, True, True),
        (GOOD, False, False, True),
        ("Ann stalls.\nAnn: Tea?", True, False, False),  # never closed: nothing is visible
        ("</system_thinking>\nAnn: Tea?", True, False, True),  # an empty plan is no plan
        ("x</system_thinking>\nBob: Tea?", True, False, False),
        ("x</system_thinking>\nTea?", True, False, False),
        ("x</system_thinking>\nAnn: Tea?\nBob: Yes.", True, False, False),
        ("x</system_thinking>\nAnn: <role_thinking>Hm.</role_thinking>", True, False, True),
        ("x</system_thinking>\nAnn: <role_action>nods", True, False, True),
    ],
)
def test_form_and_role(text: str, ended: bool, well_formed: bool, own_role: bool) -> None:
    assert is_well_formed(reply(text, ended)) is well_formed
    assert stays_in_role(reply(text, ended)) is own_role


def test_pattern_statistics_by_hand() -> None:
    figures = pattern_statistics(["TS", "TS", "AS", "S", ""])
    assert figures["count"] == 4 and figures["distinct"] == 3 and figures["top"] == "TS"
    assert figures["top_share"] == 0.5
    assert figures["entropy"] == pytest.approx(-(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)))


def test_one_pattern_has_no_entropy_and_none_has_no_top() -> None:
    assert pattern_statistics(["T"])["entropy"] == 0.0
    assert pattern_statistics([])["top_share"] == 0.0


def test_layer_lengths_by_hand() -> None:
    turns = [
        parse_turn(
            "<system_thinking>12345</system_thinking>Ann: <role_action>123</role_action> One <role_action>456"
            "</role_action> two."
        ),
        parse_turn("Ann: <role_thinking>1234</role_thinking>"),
    ]
    # Runs of a layer count together, with a space between them; a layer that a turn lacks counts as 0.
    assert layer_lengths(turns) == {
        "system_thinking": 2.5,
        "role_thinking": 2.0,
        "role_action": 3.5,
        "role_speech": 4.0,
    }
    assert layer_lengths([]) == {"system_thinking": 0.0, "role_thinking": 0.0, "role_action": 0.0, "role_speech": 0.0}


def test_score_replies_sees_what_others_see_and_how_long_it_is() -> None:
    silent = "x</system_thinking>\nAnn: <role_thinking>Hm.</role_thinking>"
    figures = score_replies([reply(GOOD), reply(silent), reply("no end"), reply("x</system_thinking>\nTea?", False)])
    assert figures["visible"] == 0.5
    # "Ann stalls.", "x", "no end", "x"; "Not now.", "Hm."; "Tea?" twice
    assert figures["characters"] == {
        "system_thinking": (11 + 1 + 6 + 1) / 4,
        "role_thinking": (8 + 3) / 4,
        "role_action": 0.0,
        "role_speech": 8 / 4,
    }


def test_score_replies_counts_shares_and_issues() -> None:
    figures = score_replies(
        [reply(GOOD), reply("x</system_thinking>\nBob: Tea?"), reply("no end"), reply(GOOD, False)]
    )
    assert figures["replies"] == 4
    assert figures["well_formed"] == 0.25
    assert figures["own_role"] == 0.5
    assert figures["ended"] == 0.75
    assert figures["leak_rate"] == 0.0
    assert figures["issues"] == {"empty": 1, "foreign_speaker": 1, "unclosed": 1}


def test_no_replies_is_an_error_not_a_number() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        score_replies([])


def test_a_leak_is_thinking_that_reached_speech() -> None:
    spoken = "x</system_thinking>\nAnn: <thinking>Not now.</thinking> Tea?"
    assert score_replies([reply(GOOD), reply(spoken)])["leak_rate"] == 0.5


def test_repetition_is_that_of_what_the_character_sees() -> None:
    texts = [f"{plan}</system_thinking>\nAnn: <role_thinking>One two three</role_thinking> four." for plan in "abc"]
    assert score_replies(list(map(reply, texts)))["self_bleu"] == 1.0
    assert score_replies([reply(GOOD), reply("x</system_thinking>\nAnn: One two three four.")])["self_bleu"] == 0.0
    assert score_replies([reply(GOOD)])["self_bleu"] is None  # nothing to compare with


def test_notation_is_chosen() -> None:
    brackets = SampledReply("Ann: [Not now.] (nods) Tea?", "Ann", ("Ann", "Bob"), True, notation="coser")
    assert brackets.turn.pattern == "TAS"
    assert score_replies([brackets])["leak_rate"] == 0.0
