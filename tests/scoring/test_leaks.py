"""Leaks: thinking that reaches speech, and what only another thought."""

import time
from pathlib import Path

import pytest

from her_hf.dual_layer import ENVIRONMENT, Layer, Turn, parse_turn
from her_hf.scenes import load_scenes
from her_hf.scoring.leaks import known_secrets, long_words, spoken_thoughts, written
from tests.support.paths import ROOT

PLAN = "<think>Ann wants the silver key from under the mat before Bob wakes.</think>"
KEY_RUNS = ["the silver key from under the", "silver key from under the mat"]
THOUGHT = "<role_thinking>我怕那口铜钟半夜响起来惊动人</role_thinking>"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann: <role_thinking>No.</role_thinking> Tea? <role_action>nods</role_action>", []),
        ("Ann: <thinking>No.</thinking> Tea?", ["<thinking>", "</thinking>"]),
        ("Ann: < Inner_Thoughts >No. Tea?", ["< Inner_Thoughts"]),
        ("Ann: Tea? <role_think No.", ["<role_think"]),
        ("Ann: <\u200bsystem_thinking>No.", ["<\u200bsystem_thinking>"]),
        ("Ann: <内心独白>不。</内心独白>茶?", ["<内心独白>", "</内心独白>"]),
        ("Ann: I <3 you, I think, <b>really</b>.", []),
        ("Ann: Tea? [I must not tell.]", ["[I must not tell.]"]),
        ("Ann: <role_action>pours [he knows too much]</role_action>", ["[he knows too much]"]),
        ("Ann: 【他知道了】茶?", ["【他知道了】"]),
        ("Ann: Tea [sic], [\u200bI must not tell.], (smiles at the man)", []),
        (PLAN + "Ann: Give me the silver key from under the mat!", KEY_RUNS),
        (PLAN + "Ann: Give me the silver key from above.", []),  # five words are a chance
        (PLAN + "Ann: The silver key! From under the mat!", KEY_RUNS),
        ('<think>Say "Give me the silver key at once" now.</think>Ann: Give me the silver key at once!', []),
        (f"Ann: {THOUGHT} 那口铜钟半夜响起来", ["那口铜钟半夜响起", "口铜钟半夜响起来"]),
        (f"Ann: {THOUGHT} 那口铜钟半夜响呢", []),  # seven characters are a chance
        ("<think>Never closed, give me the silver key at once", []),
    ],
)  # fmt: skip
def test_spoken_thoughts(text: str, found: list[str]) -> None:
    assert spoken_thoughts(parse_turn(text)) == found


def test_the_two_kinds_of_thinking_count_alike() -> None:
    plan = Turn("Ann", "one two three four five six", parse_turn("One two three four five six.").segments)
    thought = parse_turn("<role_thinking>one two three four five six</role_thinking> One two three four five six.")
    assert spoken_thoughts(plan) == spoken_thoughts(thought) == ["one two three four five six"]


@pytest.mark.parametrize("piece", ["<", "< ", "<a", "[", "[a", "“", "<think", "a b c d e f ", '"', "「"])
def test_time_is_linear_on_hostile_text(piece: str) -> None:
    turn = Turn("Ann", piece * 100_000, parse_turn("x").segments + parse_turn("Ann: " + piece * 100_000).segments)
    started = time.process_time()
    spoken_thoughts(turn)
    assert time.process_time() - started < 5


def dialogue(*texts: str) -> list[Turn]:
    return [parse_turn(text, names=("Ann", "Bob", "Cid")) for text in texts]


HIDDEN = (
    "<think>Ann plans to sell the old mill.</think>Ann: <role_thinking>It lies well under the mat.</role_thinking>"
)
FIRST = f"{HIDDEN} Tea?"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([FIRST, "Bob: Is it well under the mat?"], [(1, "Ann", "well under the mat")]),
        ([FIRST, "Bob: Why sell the old mill?"], [(1, "Ann", "sell the old mill")]),
        ([FIRST, "Bob: <role_thinking>Well, under the mat?</role_thinking> Yes."], [(1, "Ann", "well under the mat")]),
        ([FIRST, "<think>Well under the mat.</think>Bob: Yes."], []),  # the author knows all
        ([FIRST, "Ann: It lies well under the mat."], []),  # her own
        ([FIRST, "Bob: Under the mat?"], []),  # three words are a chance
        ([FIRST, "Ann: Well under the mat, Bob.", "Bob: Well under the mat?"], []),  # told by then
        ([FIRST, "Bob: Well under the mat?", "Cid: Well under the mat!"], [(1, "Ann", "well under the mat")]),
        (["Bob: Well under the mat?", FIRST], []),  # said before it was thought
        (["Bob: <role_thinking>Well under the mat?</role_thinking> Hm.", FIRST, "Bob: Well under the mat."],
         [(1, "Bob", "well under the mat")]),
    ],
)  # fmt: skip
def test_known_secrets(texts: list[str], found: list[tuple[int, str, str]]) -> None:
    secrets = known_secrets(dialogue(*texts))
    assert [(secret.turn, secret.owner, secret.found) for secret in secrets] == found


def test_known_secrets_in_chinese() -> None:
    turns = [parse_turn("老孙: <role_thinking>我怕那口铜钟</role_thinking>早。"), parse_turn("唐僧: 你怕那口铜钟罢。")]
    assert [secret.found for secret in known_secrets(turns)] == ["怕那口铜", "那口铜钟"]


def test_what_is_open_is_no_secret_and_what_is_private_is_one() -> None:
    turns = dialogue("Bob: You dread the grey airships of the north, Ann.")
    private = {"Ann": ["She dreads the grey airships of the north."]}
    assert len(known_secrets(turns, own_texts=private)) == 3
    assert known_secrets(turns, own_texts=private, open_texts=["All dread the grey airships of the north."]) == []
    assert known_secrets(turns, own_texts={"Bob": private["Ann"]}) == []


def test_a_rare_word_can_give_a_secret_away() -> None:
    turns = dialogue("Ann: <role_thinking>A zeppelin!</role_thinking> Hm.", "Bob: Two zeppelins, Ann?")
    assert known_secrets(turns) == []
    assert [secret.found for secret in known_secrets(turns, telling=long_words("zeppelin"))] == ["zeppelin"]


def test_layers_are_chosen() -> None:
    turns = dialogue(FIRST, "<think>Well under the mat.</think>Bob: Yes.")
    assert [secret.found for secret in known_secrets(turns, layers=tuple(Layer))] == ["well under the mat"]


def test_every_turn_needs_a_name() -> None:
    with pytest.raises(ValueError, match=r"turn 1 has no name.*dataclasses\.replace"):
        known_secrets([parse_turn("Ann: Hi."), parse_turn("Hi.")])


def test_words_and_runs() -> None:
    assert long_words("Two zeppelins, the zeppelin's") == {"zeppelin"}
    assert (written(("ann", "waits")), written(("老", "孙"))) == ("ann waits", "老孙")


def test_chance_is_as_rare_as_the_thresholds_say(shared: Path) -> None:
    path = shared / "data" / "coser" / "scenes_id.json"
    if not path.is_file():
        pytest.skip("needs ../shared/data/coser/scenes_id.json, which is not there")
    spoken = knowing = total = 0
    for scene in load_scenes(path):
        mine = [index for index, turn in enumerate(scene.dialogue) if turn.name != ENVIRONMENT]
        texts = [text for one in scene.cast for text in (one.name, one.portrait, one.background)]
        secrets = known_secrets(
            scene.dialogue,
            open_texts=[scene.topic, scene.scenario, *texts],
            own_texts={one.name: [one.motivation] for one in scene.cast},
        )
        total += len(mine)
        knowing += len({secret.turn for secret in secrets} & set(mine))
        spoken += sum(bool(spoken_thoughts(scene.dialogue[index])) for index in mine)
    assert (total, spoken, knowing) == (1135, 0, 13)


@pytest.mark.parametrize(("language", "figures"), [("en", (328, 2)), ("zh", (112, 1))])
def test_own_thoughts_are_seldom_said_again_in_her_mini(language: str, figures: tuple[int, int]) -> None:
    folder = ROOT / "dataset_cards" / "her-mini"
    turns = [turn for scene in load_scenes(folder) if scene.language == language for turn in scene.dialogue]
    own = [turn for turn in turns if turn.name != ENVIRONMENT]
    assert (len(own), sum(bool(spoken_thoughts(turn)) for turn in own)) == figures
