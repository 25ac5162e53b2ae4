"""Judge-free figures of whole dialogues."""

from typing import Any

import pytest

from her_hf.scenes import Character, Scene
from her_hf.scoring.dialogues import SampledDialogue, score_dialogues
from her_hf.scoring.replies import SampledReply, score_replies

NAMES = ("Ann", "Bob")
HIDES = "<think>Ann hides it.</think>Ann: <role_thinking>It lies well under the mat.</role_thinking> Tea?"
KNOWS = "<think>Bob stalls.</think>Bob: Is it well under the mat?"
SPEAKS = "<think>Bob stalls.</think>Bob: [I must not tell.] Yes."
RAIN = "It rains (hard) on the well under the mat."


def reply(speaker: str, text: str, ended: bool = True, notation: str = "her") -> SampledReply:
    return SampledReply(text, speaker, NAMES, ended, notation)


def test_figures_of_dialogues() -> None:
    one = SampledDialogue([reply("Ann", HIDES), reply("Bob", KNOWS), reply("Environment", RAIN), reply("Bob", SPEAKS)])
    two = SampledDialogue([reply("Ann", HIDES, ended=False)])
    figures: Any = score_dialogues([one, two])
    scored = [turn for turn in (*one.replies, *two.replies) if turn.speaker != "Environment"]
    assert figures == {
        **score_replies(scored),
        "dialogues": 2,
        "leak_rate": 0.5,
        "leaks": {"spoken_thoughts": 0.25, "known_secrets": 0.25},
    }
    assert (figures["replies"], figures["well_formed"], figures["own_role"]) == (4, 0.75, 1.0)


def test_a_reply_with_both_leaks_counts_once() -> None:
    both = reply("Bob", KNOWS + " [I must not tell.]")
    figures = score_dialogues([SampledDialogue([reply("Ann", HIDES), both])])
    assert figures["leak_rate"] == 0.5
    assert figures["leaks"] == {"spoken_thoughts": 0.5, "known_secrets": 0.5}


def test_only_the_chosen_characters_are_scored_but_all_are_heard() -> None:
    tells = reply("Ann", "Ann: It lies well under the mat.")
    figures = score_dialogues(
        [SampledDialogue([reply("Ann", HIDES), tells, reply("Bob", KNOWS)], scored=frozenset({"Bob"}))]
    )
    assert (figures["replies"], figures["leak_rate"]) == (1, 0.0)


def test_what_the_world_says_is_known_in_any_notation() -> None:
    world = reply("Environment", "[It lies well under the mat.]", notation="coser")
    ann = reply("Ann", "[It lies well under the mat.] Tea?", notation="coser")
    bob = reply("Bob", "Well under the mat?", notation="coser")
    known: Any = score_dialogues([SampledDialogue([ann, world, bob])])
    secret: Any = score_dialogues([SampledDialogue([ann, bob])])
    assert (known["leaks"]["known_secrets"], secret["leaks"]["known_secrets"]) == (0.0, 0.5)
    assert secret["characters"]["role_thinking"] == len("It lies well under the mat.") / 2


def test_a_label_of_another_does_not_change_who_speaks() -> None:
    figures: Any = score_dialogues([SampledDialogue([reply("Ann", HIDES), reply("Ann", "Bob: Well under the mat?")])])
    assert (figures["own_role"], figures["leaks"]["known_secrets"]) == (0.5, 0.0)


def test_of_a_scene_motivations_are_secret_and_portraits_are_not() -> None:
    cast = [
        Character(name="Ann", motivation="To sell the old mill.", profile="Keeps a key under the mat."),
        Character(name="Bob", background="Came by the morning train."),
    ]
    scene = Scene(book="b", scenario="A room full of clocks.", cast=cast)
    texts = ["Will you sell the old mill?", "A key under the mat, by the morning train, a room full of clocks."]
    replies = [reply("Bob", f"Bob: {text}") for text in texts]
    figures: Any = score_dialogues([SampledDialogue.of_scene(replies, scene)])
    assert figures["leaks"]["known_secrets"] == 0.5


@pytest.mark.parametrize(
    ("dialogues", "count"), [([], 0), ([SampledDialogue([])], 1), ([SampledDialogue([reply("Environment", RAIN)])], 1)]
)
def test_nothing_to_score_is_an_error_not_a_number(dialogues: list[SampledDialogue], count: int) -> None:
    with pytest.raises(ValueError, match=f"at least one reply to score, got none in {count} dialogues"):
        score_dialogues(dialogues)
