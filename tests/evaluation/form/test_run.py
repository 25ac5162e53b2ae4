"""`her-hf eval form`: replies of a model, dialogues that were played, and what the report says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from her_hf.cli.eval_form import form
from her_hf.dual_layer import ENVIRONMENT, parse_turn
from her_hf.durable import OtherRunError
from her_hf.evaluation.form.report import write_form_report
from her_hf.evaluation.form.run import FormRun, FormSettings, choose_units, read_dialogues, run_form_now, score_played
from her_hf.inference import AccessRefused, ModelError
from her_hf.scenes import Character, Scene, coser_row, load_scenes
from her_hf.scoring.statistics import wilson_interval
from recipes.benchmarks.scripted_server import scripted
from tests.support.journals import check_refusals
from tests.support.minimax import caller, model_of
from tests.support.paths import ROOT

MINI = ROOT / "dataset_cards" / "her-mini"
FILES = ("replies.jsonl", "results.json")  # a report also says when it was run


def command(*options: str | Path) -> Any:
    app = typer.Typer()
    app.command("form")(form)
    return CliRunner().invoke(app, [str(option) for option in options])


def measure(url: str, out: Path, *options: str | Path) -> Any:
    return command("--scenes", MINI, "--split", "test", "--model", url, "--max-replies", "12", "--out", out, *options)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def scene(**changes: Any) -> Scene:
    return Scene(
        **{
            "book": "The Mill",
            "scenario": "A mill.",
            "cast": [Character(name="Ann"), Character(name="Bob", motivation="The key lies under the mat."), world()],
            "dialogue": [
                parse_turn("Bob: <role_thinking>She must never open the blue letter.</role_thinking> Tea?"),
                parse_turn("Environment: The wind rises.", names=[ENVIRONMENT]),
                parse_turn("Ann: Please."),
            ],
        }
        | changes
    )


def world() -> Character:
    return Character(name=ENVIRONMENT)


def told(text: str, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Results of a model that always says this."""
    settings = {"scenes": [scene()], "show": False} | changes
    return run_form_now(FormRun(out=tmp_path / "out", model=caller(lambda *_: text), **settings))


# -- replies of a model


def test_the_same_figures_however_it_is_run(tmp_path: Path) -> None:
    with scripted(tmp_path / "one", faults=True) as (url, log):
        done = measure(url, tmp_path / "a", "--concurrency", "1")
        assert done.exit_code == 0, done.output
        asked = log.read_text()
        assert measure(url, tmp_path / "a").exit_code == 0
        assert log.read_text() == asked  # nothing was left to ask
        measure(url, tmp_path / "b", "--concurrency", "16")
    first = files_of(tmp_path / "a")
    assert files_of(tmp_path / "b") == first and (tmp_path / "a" / "form.png").stat().st_size > 10_000
    file = tmp_path / "b" / "replies.jsonl"
    file.write_bytes(first["replies.jsonl"][: len(first["replies.jsonl"]) // 2])  # as a kill may leave it
    with scripted(tmp_path / "two", faults=True) as (url, log):
        assert measure(url, tmp_path / "b").exit_code == 0
        assert "chat" not in log.read_text()
    assert files_of(tmp_path / "b") == first
    found = results(tmp_path / "a")
    figures = found["figures"]
    assert figures["replies"] == 12 and found["missing"]["missing"] == 0
    low, high = found["intervals"]["well_formed"]
    assert 0 < low < figures["well_formed"] < high <= 1
    assert (low, high) == wilson_interval(figures["well_formed"], 12)
    assert sum(found["counts"]["patterns"].values()) == figures["patterns"]["count"]
    assert found["intervals"]["characters"]["role_speech"][0] < figures["characters"]["role_speech"]
    assert len(found["cases"]) == 12 and found["settings"]["max_tokens"] == 4096


def test_more_replies_go_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    with scripted(tmp_path / "server") as (url, log):
        measure(url, tmp_path / "out")
        before = len(log.read_text().splitlines())
        measure(url, tmp_path / "out", "--max-replies", "24")
        assert 12 <= len(log.read_text().splitlines()) - before <= 24
        kept = files_of(tmp_path / "out")
        refused = measure(url, tmp_path / "out", "--temperature", "0.1")
        assert isinstance(refused.exception, OtherRunError) and "temperature: 0.7 there, 0.1 now" in str(
            refused.exception
        )
        assert isinstance(measure(url, tmp_path / "out", "--no-resume").exception, FileExistsError)
    assert files_of(tmp_path / "out") == kept


def test_lines_of_an_older_shape_or_another_run_are_refused(tmp_path: Path) -> None:
    scenes = load_scenes(MINI, split="test")
    model = caller(lambda *_: "<system_thinking>Hm.</system_thinking>A word.")

    def start() -> None:
        run_form_now(FormRun(scenes, tmp_path, model, FormSettings(max_replies=4), show=False))

    start()
    check_refusals(tmp_path / "replies.jsonl", start, needs="failure")


def test_files_name_no_address_and_a_refused_key_ends_the_run(tmp_path: Path) -> None:
    def gone(*_: Any) -> str:
        raise ModelError("No server answers at http://127.0.0.1:8000/v1.", kind="status", status=400)

    def refused(*_: Any) -> str:
        raise ModelError("The key was refused (401).", kind="status", status=401)

    settings = {"scenes": [scene()], "show": False}
    found = run_form_now(FormRun(out=tmp_path / "a", model=caller(gone), **settings))
    assert found["missing"]["failures"][0]["detail"] == "No server answers at [address]. (HTTP 400)"
    assert "8000" not in (tmp_path / "a" / "replies.jsonl").read_text()
    with pytest.raises(AccessRefused, match="refused"):
        run_form_now(FormRun(out=tmp_path / "b", model=caller(refused), **settings))
    assert not (tmp_path / "b" / "replies.jsonl").exists()


def test_replies_that_cannot_be_had_are_missing_and_asked_for_again(tmp_path: Path) -> None:
    with scripted(tmp_path / "server", broken_after=6) as (url, _):
        done = measure(url, tmp_path / "out", "--concurrency", "1")
        assert done.exit_code == 3 and "are missing, more than --max-missing" in done.stderr
    found = results(tmp_path / "out")
    there = found["figures"]["replies"]
    assert found["missing"]["missing"] == 12 - there > 0 and found["missing"]["by_cause"] == {"status": 12 - there}
    assert "are missing" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    with scripted(tmp_path / "server") as (url, _):
        assert measure(url, tmp_path / "out").exit_code == 0
    assert results(tmp_path / "out")["figures"]["replies"] == 12


def test_a_model_that_gives_nothing(tmp_path: Path) -> None:
    def refuses(*_: Any) -> str:
        raise ModelError("on fire | <b>", kind="status", status=400)

    run = FormRun([scene()], tmp_path / "out", caller(refuses), show=False)
    found = run_form_now(run)
    assert found["figures"] is None and found["missing"]["share"] == 1
    report = write_form_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert r"on fire \| &lt;b&gt;" in report and "![" not in report


def test_a_model_that_says_nothing(tmp_path: Path) -> None:
    found = told("", tmp_path)
    assert (
        found["figures"]["visible"] == 0
        and found["counts"]["patterns"] == {}
        and found["intervals"]["top_share"] is None
    )
    assert "1 reply is not well-formed" in write_form_report(found, tmp_path).read_text(encoding="utf-8")


def test_leaks_of_own_thinking_and_of_anothers(tmp_path: Path) -> None:
    plan = "<system_thinking>Ann wants to leave before the rain comes.</system_thinking>"
    own = told(f"{plan}Ann: I want to, she wants to leave before the rain comes.", tmp_path / "own")
    assert own["figures"]["leaks"] == {"spoken_thoughts": 1.0, "known_secrets": 0.0}
    for secret in ("must never open the blue letter", "key lies under the mat"):
        other = told(f"{plan}Ann: So I {secret}?", tmp_path / secret[:3])
        assert other["figures"]["leaks"] == {"spoken_thoughts": 0.0, "known_secrets": 1.0}
        assert other["figures"]["leak_rate"] == 1.0 and other["figures"]["well_formed"] == 1.0
    assert told(f"{plan}Ann: The wind rises, A mill.", tmp_path / "no")["figures"]["leak_rate"] == 0.0


def test_styles_say_how_a_model_is_spoken_to(tmp_path: Path) -> None:
    model = caller(lambda *_: "Ann: [No.] (nods) Please.")
    run = FormRun([scene()], tmp_path, model, FormSettings("plain"), show=False)
    found = run_form_now(run)
    (asked,) = model_of(model).asked
    assert asked[2] is False and asked[1].max_tokens == 512 and "blue letter" not in str(asked[0])
    assert found["figures"]["patterns"]["top"] == "TAS" and found["figures"]["well_formed"] == 0
    assert "does not request system thinking" in write_form_report(found, tmp_path).read_text(encoding="utf-8")


def test_what_is_chosen() -> None:
    scenes = load_scenes(MINI, split="test")
    turns = sum(len(one.dialogue) - 1 for one in scenes)
    units = choose_units(scenes, 20)
    assert len(units) == 20 and len({one.key for one, _, _ in units}) == len(scenes)
    assert len(choose_units(scenes, 10_000)) == turns
    assert [(name, index) for _, name, index in choose_units([scene()], 5)] == [("Ann", 2)]


@pytest.mark.parametrize(
    ("scenes", "count", "message"),
    [
        ([scene()], 0, "at least 1, got 0"),
        ([scene(), scene()], 5, "repeated"),
        ([scene(dialogue=[])], 5, "no turn to reply to: in none of 1 scenes"),
    ],
)
def test_what_cannot_be_chosen(scenes: list[Scene], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_units(scenes, count)


# -- dialogues that were played


def row(**changes: Any) -> dict[str, Any]:
    turns = [
        {"name": "Bob", "text": "<role_thinking>She must never open the blue letter.</role_thinking> Tea?"},
        {"name": "Ann", "text": "Must I never open the blue letter?"},
        {"name": ENVIRONMENT, "text": "Rain."},
    ]
    return {"key": ["The Mill", 0, 0], "turns": turns, "ended_by": "rounds"} | changes


def test_dialogues_of_an_evaluation_have_the_form_that_it_reports(tmp_path: Path) -> None:
    scenes = [coser_row(one) for one in load_scenes(MINI, split="train")[:2]]
    file, out = tmp_path / "scenes.json", tmp_path / "coser"
    file.write_text(json.dumps(scenes, ensure_ascii=False), encoding="utf-8")
    with scripted(tmp_path / "server") as (url, _):
        options = ["--scenes", str(file), "--actor", url, "--out", str(out), "--rounds", "6", "--simulate-only"]
        done = subprocess.run(
            [sys.executable, "-m", "her_hf.cli.main", "eval", "coser", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    dialogues = out / "dialogues.jsonl"
    done = command("--dialogues", dialogues, "--scenes", file, "--out", tmp_path / "form")
    assert done.exit_code == 0, done.output
    figures, form = results(tmp_path / "form")["figures"], results(out)["figures"]["form"]
    assert figures == {name: form[name] for name in form if name != "dialogues"}
    text = (tmp_path / "form" / "report.md").read_text(encoding="utf-8")
    assert "--dialogues" in text and "![Shares with intervals, and patterns](form.png)" in text
    into_the_run = command("--dialogues", dialogues, "--scenes", file, "--out", out)
    assert isinstance(into_the_run.exception, OtherRunError)
    first, *others = dialogues.read_text(encoding="utf-8").splitlines(keepends=True)
    dialogues.write_text("".join(others) or first.replace('"ended_by": "rounds"', '"ended_by": "end_chat"'))
    changed = command("--dialogues", dialogues, "--scenes", file, "--out", tmp_path / "form")
    assert isinstance(changed.exception, FileExistsError) and "holds another run" in str(changed.exception)
    dialogues.write_text(first + "".join(others), encoding="utf-8")
    without = command("--dialogues", dialogues, "--out", tmp_path / "without")
    assert without.exit_code == 0
    assert results(tmp_path / "without")["figures"]["leaks"]["known_secrets"] is None
    assert "not looked for" in (tmp_path / "without" / "report.md").read_text(encoding="utf-8")


def test_what_of_a_dialogue_is_scored() -> None:
    found = score_played([row()], [scene()], {"dialogues": "x"})
    assert [case["character"] for case in found["cases"]] == ["Bob", "Ann"]
    assert [case["knows_secret"] for case in found["cases"]] == [False, True]
    original = [{**turn, "origin": "original"} for turn in row()["turns"][:1]] + row()["turns"][1:]
    found = score_played([row(turns=original)], [scene()], {"dialogues": "x"})
    assert [case["knows_secret"] for case in found["cases"]] == [True]
    failed = row(key=["The Mill", 0, 1], turns=[], ended_by="failed", failure={"cause": "timeout", "detail": "slow"})
    found = score_played([row(), failed], None, {"dialogues": "x"})
    assert found["missing"] == {
        "unit": "dialogue",
        "expected": 2,
        "missing": 1,
        "share": 0.5,
        "by_cause": {"timeout": 1},
        "failures": [{"key": ["The Mill", 0, 1], "cause": "timeout", "detail": "slow"}],
    }
    with pytest.raises(ValueError, match=r"must have `cause` and `detail`, got .*An older her_hf wrote it"):
        score_played([row(ended_by="failed", failure={"kind": "timeout", "message": "slow"})], None, {})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(key=["Other", 0, 0])], r"\('Other', 0, 0\) is not among the 1 scenes"),
        ([row(turns=[{"name": "Ann"}])], "turn 0: must have `name` and `text`, got"),
        ([row(turns=[{"name": ENVIRONMENT, "text": "Rain."}])], "no turn to score"),
        ([{"turns": []}], "a row must have `key`"),
    ],
)
def test_dialogues_that_cannot_be_scored(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_played(rows, [scene()], {"dialogues": "x"})


def test_reading_dialogues_leaves_the_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "dialogues.jsonl"
    text = json.dumps(row()) + "\n" + json.dumps(row(ended_by="end_chat")) + '\n{"key": ["cut'
    file.write_text(text, encoding="utf-8")
    assert [one["ended_by"] for one in read_dialogues(file)] == ["end_chat"]
    assert file.read_text(encoding="utf-8") == text
    file.write_text('{"seed_id": "mill"}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: must be a dialogue of her-hf eval coser, got .*\(key: Field req"):
        read_dialogues(file)


# -- the command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either a model (--model)"),
        (("--model", "http://127.0.0.1:9", "--dialogues", "x"), "give either a model (--model)"),
        (("--model", "http://127.0.0.1:9"), "give --scenes"),
        (("--dialogues", "nowhere.jsonl"), "nowhere.jsonl does not exist"),
    ],
)
def test_the_command_refuses(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = command(*options, "--out", tmp_path / "out")
    assert message in str(done.exception) and not (tmp_path / "out").exists()


def test_options_may_stand_in_yaml(tmp_path: Path) -> None:
    config = tmp_path / "form.yaml"
    with scripted(tmp_path / "server") as (url, _):
        config.write_text(f"scenes: {MINI}\nsplit: test\nmodel: {url}\nmax-replies: 4\nmax-tokens: 300\n")
        assert command("--config", config, "--out", tmp_path / "out", "--max-replies", "3").exit_code == 0
    found = results(tmp_path / "out")
    assert found["figures"]["replies"] == 3 and found["settings"]["max_tokens"] == 300


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_wilson_intervals_hold_the_share_and_never_vanish(share: float) -> None:
    low, high = wilson_interval(share, 20)
    assert 0 <= low <= share <= high <= 1 and high - low > 0.1
    narrow = wilson_interval(share, 2000)
    assert narrow[1] - narrow[0] < high - low


def test_what_a_start_spent_stands_beside_the_results(tmp_path: Path) -> None:
    with scripted(tmp_path / "server") as (url, _):
        for _ in range(2):
            assert measure(url, tmp_path / "out").exit_code == 0
    first, second = (json.loads(line) for line in (tmp_path / "out" / "sessions.jsonl").read_text().splitlines())
    assert first["spent"]["model"]["asked"] == 12 and second["spent"]["model"]["kept"] == 0
    assert second["spent"]["model"]["asked"] == 0 and set(first["seconds"]) == {"replying"}
    assert {"version", "commit", "ended"} <= first.keys()
    assert results(tmp_path / "out")["settings"]["data"]["source"] == f"…/{MINI.name}"
    assert "spent" not in (tmp_path / "out" / "results.json").read_text()
