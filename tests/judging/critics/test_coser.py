"""Critics: what they are asked, how their answers are read, and what is missing."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller, Messages, ModelError, Reply, Retries, Sampling
from her_hf.judging import (
    DIMENSIONS,
    CoserJudgement,
    Judging,
    Missing,
    critic_messages,
    judge_dialogue,
    parse_flaws,
    read_answer,
)
from her_hf.judging.critics.coser import flaw_schema, majors_of
from her_hf.scenes import Character, Scene, load_scenes
from her_hf.scoring.coser_dimensions import FLAW_TYPES
from tests.support.paths import SHARED


def scene(**extra: Any) -> Scene:
    return Scene(
        book="The {{ Mill }}",
        scenario="A mill. {major_characters} {% raw %}",
        cast=[Character(name="Ann", profile="Hides {a} letter."), Character(name="Bob"), Character(name="Cy")],
        dialogue=[
            parse_turn("Ann: <role_thinking>Not the drawer.</role_thinking> <role_action>pours</role_action> Tea?"),
            parse_turn("Bob: Please."),
        ],
        extra={"plot": {"summary": "Bob looks for a letter."}, **extra},
    )


PLAYED = [
    parse_turn("Ann: <role_thinking>He knows.</role_thinking> <role_action>stands</role_action> Go.", names=["Ann"]),
    parse_turn("Environment: The wind rises.", names=["Environment"]),
]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_what_a_critic_is_asked(dimension: str) -> None:
    system, user = critic_messages(scene(), PLAYED, dimension)
    text = system["content"]
    assert f"in one respect: {DIMENSIONS[dimension]}." in text
    parts = [
        "Bob looks for a letter.",
        "A mill. {major_characters} {% raw %}",
        "Hides {a} letter.",
        "Ann: (pours) Tea?",
        "What to look for",
        "severity",
        f'{{"{DIMENSIONS[dimension]}": {{"flaws":',
    ]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)  # task, summary, scenario, profiles, original, criteria, scoring, JSON
    assert "The {{ Mill }}" in text
    assert user["content"].endswith("Ann: (stands) Go.\n\nEnvironment: The wind rises.")
    assert ("Judge only these characters: Ann, Bob." in text) == (dimension == "CF")


def test_thoughts_are_removed_or_kept_on_both_sides() -> None:
    for thoughts, shown in (("coser", False), ("her", True)):
        whole = "".join(message["content"] for message in critic_messages(scene(), PLAYED, "AN", thoughts=thoughts))
        assert ("[Not the drawer.]" in whole) == ("[He knows.]" in whole) == ("[square brackets]" in whole) == shown
    with pytest.raises(ValueError, match="thoughts must be one of"):
        Judging(thoughts="some")
    with pytest.raises(ValueError, match="dimension must be one of"):
        critic_messages(scene(), PLAYED, "XX")


def test_major_characters_are_those_of_the_scene_else_who_speaks() -> None:
    assert majors_of(scene(major_characters=["Cy", "Nobody"])) == ["Cy"]
    assert majors_of(scene()) == ["Ann", "Bob"]


def test_prompts_of_real_scenes_leave_no_placeholder() -> None:
    if not SHARED.exists():
        pytest.skip("../shared is not there")
    for one in load_scenes(SHARED / "data" / "coser" / "scenes_example.json"):
        for dimension in DIMENSIONS:
            system = critic_messages(one, one.dialogue, dimension)[0]["content"]
            assert "{{" not in system and "{%" not in system and one.scenario in system
            assert one.extra["plot"]["summary"] in system
            thought = next(turn for turn in one.dialogue if "T" in turn.pattern)
            assert thought.segments[0].text not in system or thought.segments[0].layer.value != "role_thinking"


FLAWS = '{"Storyline Quality": {"flaws": [{"instance": "a", "type": "Logical Consistency", "severity": 3}]}}'


@pytest.mark.parametrize(
    ("text", "severities"),
    [
        (FLAWS, [3]),
        (f"```json\n{FLAWS}\n```", [3]),
        (f"Let me see.\n\n{FLAWS}", [3]),
        (f"<think>maybe {{}} or {{'x'}}</think>{FLAWS}", [3]),
        ('{"flaws": [{"instance": "a", "severity": "4"}, {"instance": "b", "severity": 2.5}]}', ["4", 2.5]),
        ('{"Storyline Quality": {"flaws": []}}', []),
        ('{"SQ": {"flaws": [{"instance": "a"}]}}', [None]),
        ('{"Storyline Quality": {"flaws": [{"instance": "two\nlines", "severity": 1}]}}', [1]),
        ('{"Storyline Quality": {"flaws": [{"instance": "a", "severity": 3},]}}', [3]),  # repaired
    ],
)
def test_answers_that_can_be_read(text: str, severities: list[Any]) -> None:
    found = parse_flaws(text, "SQ")
    assert isinstance(found, CoserJudgement)
    assert [flaw.get("severity") for flaw in found.flaws] == severities
    assert found.unrated == severities.count(None)
    assert found.repaired == (",]" in text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no_json"),
        ("I would rather not.", "no_json"),
        ("{}", "no_json"),
        ("7", "no_json"),
        ('["flaws"]', "no_json"),
        ('<think>{"flaws": []}</think> I am done.', "no_json"),
        ('<think>The form is {"flaws": []}. Now turn 1, which is awful,', "no_json"),
        ('Well.</think> <thinking>First {"Storyline Quality": {"flaws": []}}', "no_json"),
        ('{"Another": {"flaws": []}}', "wrong_keys"),
        ('{"Storyline Quality": []}', "wrong_keys"),
        ('{"Storyline Quality": {"flaws": "none"}}', "wrong_keys"),
        ('{"Storyline Quality": {"flaws": ["bad"]}}', "bad_value"),
        ('{"Storyline Quality": {"flaws": [{"severity": true}]}}', "bad_value"),
        ('{"Storyline Quality": {"flaws": [{"severity": 0}]}}', "bad_value"),
        ('{"Storyline Quality": {"flaws": [{"severity": 11}]}}', "bad_value"),
        ('{"Storyline Quality": {"flaws": [{"severity": "high"}]}}', "bad_value"),
        ('{"Storyline Quality": {"flaws": [{"severity": null}]}}', "bad_value"),
    ],
)
def test_answers_that_are_missing(text: str, cause: str) -> None:
    found = parse_flaws(text, "SQ")
    assert isinstance(found, Missing) and found.cause == cause and found.detail


def test_what_the_original_read_as_json() -> None:
    """Ours: a number is no object, a raw line break is kept, an empty object is no judgement."""
    file = SHARED / "reference" / "conformance.json"
    if not file.exists():
        pytest.skip("../shared is not there")
    right: dict[str, Any] = {"C-JSON-04": {"a": "x\ny"}, "C-JSON-06": None}
    entries = [entry for entry in json.loads(file.read_text(encoding="utf-8")) if entry["id"].startswith("C-JSON")]
    assert len(entries) == 5
    for entry in entries:
        found = read_answer(entry["input"], lambda found: found)
        value = None if isinstance(found, Missing) else found.value
        assert value == right.get(entry["id"], entry["original_output"]), entry["id"]


@pytest.mark.parametrize("unit", ["{", '{"a": ', "[{", "```json\n{", "<think>", '{"flaws": [', "}{"])
def test_hostile_answers_take_bounded_time(unit: str) -> None:
    start = time.process_time()
    parse_flaws(unit * 20_000, "SQ")
    assert time.process_time() - start < 5


def test_the_schema_is_what_is_read() -> None:
    for dimension in DIMENSIONS:
        schema = flaw_schema(dimension)
        kind = schema["properties"][DIMENSIONS[dimension]]["properties"]["flaws"]["items"]["properties"]["type"][
            "enum"
        ][0]
        answer = {DIMENSIONS[dimension]: {"flaws": [{"instance": "a", "type": kind, "severity": 10}]}}
        assert list(answer) == schema["required"] and kind in FLAW_TYPES[dimension]
        assert isinstance(parse_flaws(json.dumps(answer), dimension), CoserJudgement)


class Judge:
    """Says what it is told, one answer a call."""

    name = "judge"

    def __init__(self, *answers: str | ModelError | Reply) -> None:
        self.answers = list(answers)
        self.sampling: list[Sampling] = []
        self.schemas: list[Any] = []
        self.notes: list[str] = []

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": "judge"}

    async def chat(
        self, messages: Messages, *, sampling: Sampling, thinking: bool = True, schema: Any = None
    ) -> Reply:
        assert thinking is False
        self.sampling.append(sampling)
        self.schemas.append(schema)
        said = self.answers.pop(0)
        if isinstance(said, ModelError):
            raise said
        return said if isinstance(said, Reply) else Reply(said, "stop", True, content=said)


def judged(*answers: str | ModelError | Reply, **settings: Any) -> tuple[CoserJudgement | Missing, Judge]:
    judge = Judge(*answers)
    sample = settings.pop("sample", 0)
    caller = Caller(judge, retries=Retries(max_retries=0))
    found = asyncio.run(judge_dialogue(caller, scene(), PLAYED, "SQ", settings=Judging(**settings), sample=sample))
    return found, judge


def test_an_answer_that_cannot_be_read_is_asked_for_anew() -> None:
    found, judge = judged("no", '{"x": 1}', FLAWS)
    assert isinstance(found, CoserJudgement) and len(found.flaws) == 1
    assert [sampling.temperature for sampling in judge.sampling] == [0.0, 1.0, 1.0]
    assert len({sampling.seed for sampling in judge.sampling}) == 3
    assert judge.schemas == [flaw_schema("SQ")] * 3


def test_after_the_last_attempt_the_judgement_is_missing() -> None:
    found, judge = judged("no", '{"x": 1}', attempts=2)
    assert isinstance(found, Missing) and found.cause == "wrong_keys" and len(judge.sampling) == 2
    draft = 'The form is {"Storyline Quality": {"flaws": []}}. Now turn 1'
    for text in (FLAWS[:20], FLAWS[:-3], draft):  # the third is no verdict
        found, _ = judged(Reply(text, "length", False, content=text), attempts=1)
        assert isinstance(found, Missing) and found.cause == "cut"
    found, _ = judged(Reply(FLAWS, "length", False, content=FLAWS), attempts=1)
    assert isinstance(found, CoserJudgement)
    found, _ = judged(ModelError("gone", kind="status", status=404))
    assert found == Missing("request", "gone")


def test_samples_of_one_judge_have_different_seeds() -> None:
    _, first = judged(FLAWS)
    _, second = judged(FLAWS, sample=1)
    assert first.sampling[0].seed != second.sampling[0].seed
    assert (first.sampling[0].temperature, second.sampling[0].temperature) == (0.0, 1.0)


def test_a_cause_is_one_of_those_that_are_counted() -> None:
    with pytest.raises(ValueError, match="cause must be one of"):
        Missing("mood")
