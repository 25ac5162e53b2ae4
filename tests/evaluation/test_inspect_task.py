"""CoSER as a task of inspect-ai: played and judged as everywhere else; what is missing is unscored and says why."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from her_hf.dual_layer import parse_turn
from her_hf.inference import Caller
from her_hf.scenes import Character, Scene
from her_hf.scoring.coser import coser_score
from her_hf.scoring.coser_dimensions import DIMENSIONS, FLAW_TYPES
from her_hf.simulation.coser import CoserSettings, Troupe, play_scene
from tests.support.paths import ROOT

needs_inspect = pytest.mark.skipif(
    find_spec("inspect_ai") is None, reason="needs inspect-ai: pip install 'her_hf[inspect]'"
)
Rule = Callable[[str, str, Any], str]
"""From system message, last message and config to the reply."""


def scene(number: int) -> Scene:
    return Scene(
        book="The Mill",
        scenario="A mill at dusk.",
        i_p=number,
        cast=[Character(name="Ann", motivation="He must go."), Character(name="Bob", motivation="I shall find it.")],
        dialogue=[parse_turn("Ann: <role_thinking>Not the drawer.</role_thinking> Tea?"), parse_turn("Bob: Please.")],
        extra={"plot": {"summary": "Ann hides a letter.", "text": "It was dusk."}},
    )


@pytest.fixture
def scenes(tmp_path: Path) -> str:
    """A file with two scenes."""
    file = tmp_path / "scenes.jsonl"
    file.write_text("".join(scene(number).model_dump_json() + "\n" for number in (1, 2)), encoding="utf-8")
    return str(file)


def plain(system: str, last: str, config: Any) -> str:
    """An actor, a world and a next-speaker predictor that always find something to say."""
    if "You direct a scene" in system:
        return f"Next Speaker: {'Ann' if last.rfind('Bob: ') > last.rfind('Ann: ') else 'Bob'}"
    name = re.match(r"You are (\w+)", system)
    return f"{name[1] if name else 'Environment'}: [Hm, {len(last)}.] (nods) Well then, {config.seed}."


def critic(system: str, last: str, config: Any) -> str:
    """Finds one flaw of severity 2 in each dimension."""
    (code,) = (code for code, name in DIMENSIONS.items() if f"in one respect: {name}. Look" in system)
    flaws = [{"instance": "Well then", "type": FLAW_TYPES[code][0], "severity": 2}]
    return json.dumps({DIMENSIONS[code]: {"flaws": flaws}})


def mute(system: str, last: str, config: Any) -> str:
    """Refuses one dimension and judges the others."""
    return "I would rather not." if "Storyline Quality. Look" in system else critic(system, last, config)


def model(rule: Rule, name: str = "model") -> Any:
    """Inspect's mock model by a rule; `asked` keeps what it was asked."""
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    asked: list[Any] = []

    def answer(messages: Any, tools: Any, choice: Any, config: Any) -> Any:
        asked.append((messages, config))
        output = ModelOutput.from_content(name, rule(messages[0].text, messages[-1].text, config))
        output.usage = ModelUsage(input_tokens=5, output_tokens=2, total_tokens=7)  # else it would fetch a tokenizer
        return output

    found = get_model(f"mockllm/{name}", custom_outputs=answer)
    found.asked = asked
    return found


def evaluated(scenes: str, tmp_path: Path, actor: Any, how: dict[str, Any] | None = None, **task: Any) -> Any:
    """The log of one run over the scenes."""
    from inspect_ai import eval as inspect_eval

    from her_hf.evaluation.inspect_task import coser

    done = coser(scenes, **{"style": "plain", "rounds": 4, **task})
    return inspect_eval(done, model=actor, log_dir=str(tmp_path / "logs"), display="none", **(how or {}))[0]


def figures(log: Any) -> dict[str, dict[str, float]]:
    return {score.name: {name: one.value for name, one in score.metrics.items()} for score in log.results.scores}


# -- the task


@needs_inspect
def test_two_scenes_are_played_and_scored_as_everywhere_else(scenes: str, tmp_path: Path) -> None:
    grader = model(critic, "judge")
    log = evaluated(scenes, tmp_path, model(plain), {"model_roles": {"grader": grader}})
    assert log.status == "success" and [sample.id for sample in log.samples] == ["The Mill/1/0", "The Mill/2/0"]
    points = coser_score([{"severity": 2}], 4)
    found = figures(log)
    assert {name: found[name]["mean"] for name in DIMENSIONS} == dict.fromkeys(DIMENSIONS, points)
    assert found["coser_critics"] == {"avg": points, "missing": 0.0}
    score = log.samples[0].scores["coser_critics"]
    assert score.value == dict.fromkeys(DIMENSIONS, points) and score.reason is None
    assert (
        f"Storyline Consistency: {points}, flaws found: 1\n- 2 Storyline Consistency: Well then" in score.explanation
    )
    kept = {name: score.metadata[name] for name in ("grader", "thoughts", "character_turns")}
    assert kept == {"grader": "mockllm/judge", "thoughts": "coser", "character_turns": 4}
    assert len(grader.asked) == 8 and all(config.response_schema.strict for _, config in grader.asked)
    assert not any("[Hm" in messages[-1].text for messages, _ in grader.asked)  # no thought reaches the judge


@needs_inspect
def test_judge_thoughts_shows_the_judge_inner_thoughts(scenes: str, tmp_path: Path) -> None:
    grader = model(critic, "judge")
    log = evaluated(scenes, tmp_path, model(plain), {"model_roles": {"grader": grader}}, judge_thoughts="her")
    assert all("[Hm" in messages[-1].text for messages, _ in grader.asked)
    assert {sample.scores["coser_critics"].metadata["thoughts"] for sample in log.samples} == {"her"}


@needs_inspect
def test_the_dialogue_is_the_one_our_simulation_plays(scenes: str, tmp_path: Path) -> None:
    from her_hf.evaluation.inspect_task import DIALOGUE
    from her_hf.inference.inspect_ai import InspectModel

    log = evaluated(scenes, tmp_path, model(plain), simulate_only=True)
    caller = Caller(InspectModel(model(plain)))
    done = asyncio.run(play_scene(scene(1), Troupe(caller, caller, caller), CoserSettings("plain", rounds=4)))
    turns = log.samples[0].store[DIALOGUE]["turns"]
    assert turns == [played.as_dict() for played in done.turns] and len(turns) == 4
    assert log.samples[0].output.completion == "\n\n".join(one.turn.render("coser", "self") for one in done.turns)
    assert log.samples[0].target == "Ann: Tea?\n\nBob: Please."


@needs_inspect
def test_each_epoch_draws_anew(scenes: str, tmp_path: Path) -> None:
    from her_hf.evaluation.inspect_task import DIALOGUE

    log = evaluated(scenes, tmp_path, model(plain), {"epochs": 2, "limit": 1}, simulate_only=True)
    first, second = (sample.store[DIALOGUE]["turns"][0]["raw"] for sample in log.samples)
    assert first != second


@needs_inspect
def test_roles_of_models(scenes: str, tmp_path: Path) -> None:
    world, director, actor = model(plain, "world"), model(plain, "director"), model(plain)
    roles = {"environment": world, "next_speaker": director}
    evaluated(scenes, tmp_path, actor, {"model_roles": roles, "limit": 1}, simulate_only=True)
    assert len(actor.asked) == 4 and not world.asked and len(director.asked) == 3
    actor, world = model(plain), model(plain, "world")
    evaluated(scenes, tmp_path, actor, {"model_roles": {"environment": world}, "limit": 1}, simulate_only=True)
    assert len(actor.asked) == 4 and len(world.asked) == 3  # the world's model names the next speaker


@needs_inspect
def test_a_log_is_judged_later_without_the_scenes(scenes: str, tmp_path: Path) -> None:
    from inspect_ai import score
    from inspect_ai.log import read_eval_log

    from her_hf.evaluation.inspect_task import coser_critics

    log = evaluated(scenes, tmp_path, model(plain), simulate_only=True)
    assert log.status == "success" and not log.results.scores
    Path(scenes).unlink()
    roles = {"grader": model(critic, "judge")}
    judged = score(read_eval_log(log.location), coser_critics(thoughts="her"), model_roles=roles, display="none")
    assert figures(judged)["coser_critics"] == {"avg": coser_score([{"severity": 2}], 4), "missing": 0.0}
    assert "[Hm" in roles["grader"].asked[0][0][-1].text


# -- what is missing


@needs_inspect
def test_a_missing_judgement_is_unscored_and_says_why(scenes: str, tmp_path: Path) -> None:
    log = evaluated(scenes, tmp_path, model(plain), {"model_roles": {"grader": model(mute, "judge")}})
    found = figures(log)
    assert math.isnan(found["SQ"]["mean"]) and found["SC"]["mean"] == coser_score([{"severity": 2}], 4)
    assert {one.name: one.unscored_samples for one in log.results.scores if one.name in DIMENSIONS} == {
        "SC": 0, "AN": 0, "CF": 0, "SQ": 2,
    }  # fmt: skip
    assert math.isnan(found["coser_critics"]["avg"]) and found["coser_critics"]["missing"] == 0.25
    score = log.samples[0].scores["coser_critics"]
    assert math.isnan(score.value["SQ"]) and score.reason == "grader_failed"
    assert "Storyline Quality: unscored (no_json): I would rather not." in score.explanation
    assert score.metadata["judgements"]["SQ"] == {"cause": "no_json", "detail": "I would rather not."}


@needs_inspect
def test_a_judge_that_fails_once_leaves_the_others(scenes: str, tmp_path: Path) -> None:
    def broken(system: str, last: str, config: Any) -> str:
        if "Anthropomorphism. Look" in system and last.count("Well then") == 4:
            raise OSError("the line is dead")
        return critic(system, last, config)

    log = evaluated(scenes, tmp_path, model(plain), {"model_roles": {"grader": model(broken, "judge")}, "limit": 1})
    score = log.samples[0].scores["coser_critics"]
    assert [code for code in DIMENSIONS if math.isnan(score.value[code])] == ["AN"]
    why = "(request): mockllm/judge gave no reply (OSError: the line is dead)"
    assert f"Anthropomorphism: unscored {why}\n" in score.explanation


@needs_inspect
def test_a_scene_that_cannot_be_played_is_unscored_and_the_others_go_on(scenes: str, tmp_path: Path) -> None:
    calls = iter(range(100))

    def broken(system: str, last: str, config: Any) -> str:
        if next(calls) == 1:
            raise RuntimeError("out of order")
        return plain(system, last, config)

    grader = model(critic, "judge")
    how = {"model_roles": {"grader": grader}, "max_samples": 1}
    log = evaluated(scenes, tmp_path, model(broken), how)
    assert log.status == "success"
    first, second = (sample.scores["coser_critics"] for sample in log.samples)
    assert all(map(math.isnan, first.value.values())) and first.reason == "scoring_failed"
    assert first.explanation == (
        "All dimensions unscored: the dialogue failed (protocol): mockllm/model gave no reply (RuntimeError: out of "
        "order)"
    )
    assert not any(map(math.isnan, second.value.values())) and len(grader.asked) == 4
    assert figures(log)["coser_critics"] == {"avg": coser_score([{"severity": 2}], 4), "missing": 0.5}


@needs_inspect
def test_a_grader_must_be_named_before_anything_is_played(scenes: str, tmp_path: Path) -> None:
    actor = model(plain)
    log = evaluated(scenes, tmp_path, actor)
    assert log.status == "error" and "Model role 'grader' is required" in log.error.message and not actor.asked


@needs_inspect
def test_the_critics_judge_only_what_was_played(scenes: str, tmp_path: Path) -> None:
    from inspect_ai.solver import generate

    how = {"model_roles": {"grader": model(critic)}, "solver": generate()}
    log = evaluated(scenes, tmp_path, model(plain), how)
    assert log.status == "error" and "needs the dialogue of coser_play" in log.error.message


@needs_inspect
def test_limits_of_inspect_end_a_sample_as_inspect_does_it(scenes: str, tmp_path: Path) -> None:
    log = evaluated(scenes, tmp_path, model(plain), {"token_limit": 10, "limit": 1}, simulate_only=True)
    assert log.status == "success" and log.samples[0].limit.type == "token"


@needs_inspect
@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"style": "guess"}, r"style must be one of"),
        ({"judge_thoughts": "both"}, r"thoughts must be one of"),
        ({"continue_from": 9}, r"continue_from\) must be below"),
        ({"retrieval": "bm25"}, r"needs the books"),
        ({"split": "ood"}, r"has no split 'ood'"),
    ],
)
def test_wrong_settings(scenes: str, task: dict[str, Any], message: str) -> None:
    from her_hf.evaluation.inspect_task import coser

    with pytest.raises(ValueError, match=message):
        coser(scenes, rounds=4, **{"style": "plain", **task})


@needs_inspect
def test_passages_of_the_book_reach_the_actor(scenes: str, tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="needs bm25s: pip install 'her_hf[retrieval]'")
    book = tmp_path / "The Mill.json"
    book.write_text(json.dumps({"plots": [{"text": "No tea at dusk.", "i_p": 9}]}), encoding="utf-8")
    actor = model(plain)
    evaluated(scenes, tmp_path, actor, simulate_only=True, retrieval="bm25", books=str(book))
    assert "===Relevant Passages===\nFrom the book:\nNo tea at dusk.\n" in actor.asked[0][0][0].text


# -- without it


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_nothing_else_imports_inspect() -> None:
    modules = "her_hf, her_hf.evaluation.coser.run, her_hf.judging, her_hf.simulation.retrieval, her_hf.inference"
    done = run(f"import sys, {modules}\nprint('inspect_ai' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
    importing = re.compile(r"^\s*(?:from|import) inspect_ai\b", re.MULTILINE)
    files = [file for file in (ROOT / "her_hf").rglob("*.py") if importing.search(file.read_text(encoding="utf-8"))]
    assert sorted(file.name for file in files) == ["inspect_ai.py", "inspect_task.py"]


@pytest.mark.parametrize(
    ("module", "needing"),
    [("evaluation.inspect_task", "CoSER's task needs"), ("inference.inspect_ai", "A model of inspect-ai needs")],
)
def test_without_inspect_the_error_gives_the_install_line(module: str, needing: str) -> None:
    done = run(f"import sys\nsys.modules['inspect_ai'] = None\nimport her_hf.{module}")
    assert f"{needing} inspect-ai" in done.stderr and "pip install 'her_hf[inspect]'" in done.stderr
