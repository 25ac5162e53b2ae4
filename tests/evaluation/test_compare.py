"""Two runs compared on the scenes or seeds that they share."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count, product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from her_hf.cli.eval_compare import compare
from her_hf.dual_layer import parse_turn
from her_hf.durable import write_json
from her_hf.evaluation.compare import OtherMeasureError, compare_runs
from her_hf.evaluation.form.results import form_results
from her_hf.evaluation.form.run import FormRun, run_form_now, score_played
from her_hf.inference import ModelError
from her_hf.scenes import Character, Scene
from her_hf.scoring.coser import summarize_cases
from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.minimax import overall
from her_hf.scoring.statistics import paired_permutation_test
from tests.support.minimax import caller
from tests.support.results import HOSTILE, coser_run, coser_settings, minimax_run

Row = dict[str, Any]

app = typer.Typer()
app.command()(compare)


def folder(path: Path, results: Row, texts: dict[int, str] | None = None) -> Path:
    """An output folder; `texts` are digests of scenes by their number."""
    path.mkdir(parents=True)
    write_json(path / "results.json", results)
    if texts is not None:
        rows = [{"key": case["key"], "scene_digest": texts.get(case["key"][1], "same")} for case in results["cases"]]
        (path / "dialogues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def without(results: Row, *numbers: int) -> Row:
    """Results in other order, and without the scenes of these numbers."""
    return {**results, "cases": [case for case in reversed(results["cases"]) if case["key"][1] not in numbers]}


def test_scenes_are_paired_by_key(tmp_path: Path) -> None:
    results = [coser_run(20, harsh=3.0), coser_run(20, harsh=5.0, seed=1, actor="base")]
    a, b = (
        folder(tmp_path / name, one) for name, one in zip("ab", (results[0], without(results[1], 3, 4)), strict=True)
    )
    found = compare_runs(a, b, resamples=500)
    columns = [{tuple(case["key"]): case["SC"] for case in one["cases"]} for one in results]
    columns[1] = {key: value for key, value in columns[1].items() if key[1] not in (3, 4)}
    wanted = paired_permutation_test(
        list(columns[0].values()), [columns[1].get(key) for key in columns[0]], resamples=500
    )
    got = found["tests"]["SC"]
    assert {name: got[name] for name in wanted._fields} == wanted._asdict()
    assert got["difference"] == pytest.approx(got["first"] - got["second"])
    assert got["interval"][0] <= got["difference"] <= got["interval"][1]
    assert (found["shared"], found["only_first"], found["only_second"]) == (18, 2, 0)
    assert list(found["tests"]) == ["SC", "AN", "CF", "SQ", "avg"] and found["tests"]["avg"]["p_value"] < 0.05
    assert [found[side]["model"] for side in ("first", "second")] == ["her-sft-32b", "base"]
    assert (found["objections"], found["other_settings"]) == ([], {})


def with_holes(results: Row, *holes: tuple[int, str]) -> Row:
    """Results of one judge in which these scenes lack a dimension's judgement."""
    rows = [{**case, **{name: None for at, name in holes if at == case["key"][1]}} for case in results["cases"]]
    scores = summarize_cases([{name: row[name] for name in DIMENSIONS} for row in rows])["scores"]
    return {**results, "cases": rows, "figures": {**results["figures"], "scores": scores}}


def test_the_average_is_estimated_as_the_report_does(tmp_path: Path) -> None:
    results = with_holes(coser_run(12), (0, "SC"), (1, "SC"), (2, "AN"))
    a = folder(tmp_path / "a", results)
    test = compare_runs(a, a, resamples=100)["tests"]["avg"]
    assert test["first"] == test["second"] == pytest.approx(results["figures"]["scores"]["avg"])
    complete = [fmean(scores) for case in results["cases"] if None not in (scores := [case[n] for n in DIMENSIONS])]
    assert fmean(complete) != pytest.approx(results["figures"]["scores"]["avg"])


def test_the_average_is_tested_by_swapping_whole_scenes(tmp_path: Path) -> None:
    results = [
        with_holes(coser_run(7, seed=2), (0, "SC"), (3, "AN")),
        with_holes(coser_run(7, seed=3), (5, "SQ"), (0, "CF")),
    ]
    tables = [[[case[name] for name in DIMENSIONS] for case in one["cases"]] for one in results]

    def gap(swapped: tuple[bool, ...]) -> float:
        columns: list[list[float]] = [[], [], [], []]
        for one, other, turned in zip(*tables, swapped, strict=True):
            for column, a, b in zip(columns, one, other, strict=True):
                if a is not None and b is not None:
                    column.append(b - a if turned else a - b)
        return fmean(map(fmean, columns))

    seen = gap((False,) * 7)
    gaps = [abs(gap(way)) for way in product((False, True), repeat=7)]
    a, b = (folder(tmp_path / name, one) for name, one in zip("ab", results, strict=True))
    test = compare_runs(a, b)["tests"]["avg"]
    assert test["difference"] == pytest.approx(seen) == pytest.approx(test["first"] - test["second"])
    assert test["p_value"] == pytest.approx(sum(found >= abs(seen) - 1e-9 for found in gaps) / 2**7)
    assert test["interval"][0] <= seen <= test["interval"][1] and (test["pairs"], test["dropped"]) == (7, 0)


def test_each_judge_is_compared_by_itself(tmp_path: Path) -> None:
    judges = ("judge-a", "judge-b")
    results = [coser_run(10, judges=judges), coser_run(10, judges=judges, seed=1, harsh=7.0)]
    a, b = (folder(tmp_path / name, one) for name, one in zip("ab", results, strict=True))
    found = compare_runs(a, b, resamples=200)
    assert list(found["by_judge"]) == list(judges)
    for judge, tests in found["by_judge"].items():
        one, other = ([case["judges"][judge]["SC"] for case in side["cases"]] for side in results)
        wanted = paired_permutation_test(one, other, resamples=200)
        assert {name: tests["SC"][name] for name in wanted._fields} == wanted._asdict()
    shown = CliRunner().invoke(app, [str(a), str(b), "--resamples", "100"], env={"COLUMNS": "200"})
    assert "avg by judge-a" in shown.output and "avg by judge-b" in shown.output
    assert "by_judge" not in compare_runs(folder(tmp_path / "c", coser_run(3)), a, resamples=10, force=True)


# -- form


def measured(scenes: list[Scene], rule: Callable[[int], str], out: Path) -> Row:
    """Results of `her-hf eval form` with a model that answers by the number of the call."""
    calls = count()
    model = caller(lambda *_: rule(next(calls)), name=out.name)
    return run_form_now(FormRun(scenes, out, model, show=False))


GOOD, BAD = "<system_thinking>\nHm.\n</system_thinking>\n{}: Tea?", "Tea?"


def form_scene(number: int, turns: int) -> Scene:
    named = [parse_turn(f"{('Ann', 'Bob')[at % 2]}: Line {at}.") for at in range(turns + 1)]
    return Scene(book="The Mill", i_p=number, cast=[Character(name="Ann"), Character(name="Bob")], dialogue=named)


def test_form_runs_are_compared_by_the_reports_own_shares(tmp_path: Path) -> None:
    scenes = [form_scene(at, 1 + at) for at in range(6)]

    def mostly(call: int) -> str:
        return BAD if call % 4 == 0 else GOOD.format("Bob")

    results = [
        measured(scenes, mostly, tmp_path / "her"),
        measured(scenes, lambda _: BAD, tmp_path / "base"),
    ]
    found = compare_runs(tmp_path / "her", tmp_path / "base", resamples=500)
    assert (found["evaluation"], found["unit"], found["counted"]) == ("form", "scene", "reply")
    assert [found[side]["model"] for side in ("first", "second")] == ["her", "base"]
    for name in ("well_formed", "own_role", "ended", "visible"):
        test = found["tests"][name]
        assert [test["first"], test["second"]] == pytest.approx([100 * one["figures"][name] for one in results])
        assert (test["pairs"], test["dropped"]) == (1 + 2 + 3 + 4 + 5 + 6, 0)
    assert found["tests"]["leak"]["first"] == pytest.approx(100 * results[0]["figures"]["leak_rate"])
    well = found["tests"]["well_formed"]
    assert well["difference"] > 0 and well["interval"][0] <= well["difference"] <= well["interval"][1]
    assert well["p_value"] >= 2 / 2**6  # scenes are swapped whole: six of them, not 21 replies
    shown = CliRunner().invoke(app, [str(tmp_path / "her"), str(tmp_path / "base")], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "well formed" in shown.output and "replies with this score" in shown.output


def test_replies_that_are_missing_are_dropped_and_counted(tmp_path: Path) -> None:
    def fails(call: int) -> str:
        if call == 1:
            raise ModelError("gone", kind="status", status=400)
        return BAD

    scenes = [form_scene(at, 3) for at in range(3)]
    measured(scenes, fails, tmp_path / "a")
    measured(scenes, lambda _: BAD, tmp_path / "b")
    test = compare_runs(tmp_path / "a", tmp_path / "b", resamples=50)["tests"]["visible"]
    assert (test["pairs"], test["dropped"]) == (8, 1)


def test_form_of_other_things_does_not_compare(tmp_path: Path) -> None:
    scenes = [form_scene(at, 3) for at in range(2)]
    measured(scenes, lambda _: GOOD.format("Ann"), tmp_path / "asked")
    changed = [one.model_copy(update={"scenario": "It rains."}) for one in scenes]
    measured(changed, lambda _: BAD, tmp_path / "changed")
    with pytest.raises(OtherMeasureError, match=r"2 of 2 shared scenes, such as .* have different texts"):
        compare_runs(tmp_path / "asked", tmp_path / "changed")
    turn = {"name": "Ann", "text": "Tea?", "raw": GOOD.format("Ann"), "origin": "model"}
    rows = [{"key": list(one.key), "turns": [turn, turn], "ended_by": "rounds"} for one in scenes]
    played = [score_played(rows, known, {"evaluation": "form", "dialogues": "d"}) for known in (None, scenes)]
    a, b = (folder(tmp_path / name, one) for name, one in zip("ab", played, strict=True))
    with pytest.raises(OtherMeasureError, match="replies differs"):
        compare_runs(tmp_path / "asked", a)
    tests = compare_runs(a, b, resamples=20)["tests"]
    assert tests["well_formed"]["pairs"] == 4 and tests["leak"]["pairs"] == tests["knows_secret"]["pairs"] == 0
    with pytest.raises(ValueError, match="has no reply"):
        compare_runs(a, folder(tmp_path / "none", form_results([], {}, expected=2)))


def test_results_of_an_older_shape_are_refused(tmp_path: Path) -> None:
    results = coser_run(2)
    a = folder(tmp_path / "a", results)
    del results["version"]
    with pytest.raises(ValueError, match="older her_hf"):
        compare_runs(a, folder(tmp_path / "b", results))


def test_exchanging_the_runs_changes_signs_only(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(12))
    b = folder(tmp_path / "b", without(coser_run(12, seed=1)))
    one, other = compare_runs(a, b, resamples=300), compare_runs(b, a, resamples=300)
    for name, test in one["tests"].items():
        assert other["tests"][name]["difference"] == pytest.approx(-test["difference"])
        assert other["tests"][name]["p_value"] == test["p_value"]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(8))
    tests = compare_runs(a, a, resamples=200)["tests"].values()
    assert all((test["difference"], test["p_value"]) == (0, 1) for test in tests)


def test_scenes_that_failed_are_dropped_and_counted(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(10, broken=3))
    b = folder(tmp_path / "b", coser_run(10, seed=1))
    found = compare_runs(a, b, resamples=200)
    assert found["shared"] == 10
    for test in found["tests"].values():
        assert test["pairs"] + test["dropped"] == 10 and test["dropped"] >= 3


def test_a_score_that_nobody_has_is_no_number(tmp_path: Path) -> None:
    results = coser_run(4)
    cases = [{**case, "SC": None, "avg": None} for case in results["cases"]]
    a, b = folder(tmp_path / "a", results), folder(tmp_path / "b", {**results, "cases": cases})
    test = compare_runs(a, b, resamples=100)["tests"]["SC"]
    assert test == {
        **dict.fromkeys(("first", "second", "difference", "interval", "p_value")),
        "pairs": 0,
        "dropped": 4,
    }
    assert "–" in CliRunner().invoke(app, [str(a), str(b), "--resamples", "100"]).output


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"judge_thoughts": "her"}, "judge_thoughts differs ('coser' and 'her')"),
        ({"judges": ("judge-b",)}, "judges differs ('judge-a' (template None) and 'judge-b' (template None))"),
        ({"judges": ("judge-a", "judge-b")}, "judges differs"),
    ],
)
def test_runs_that_were_judged_differently_are_refused(tmp_path: Path, changes: Row, said: str) -> None:
    a, b = folder(tmp_path / "a", coser_run(4)), folder(tmp_path / "b", coser_run(4, **changes))
    with pytest.raises(OtherMeasureError, match="not comparable") as error:
        compare_runs(a, b)
    assert said in str(error.value) and "--force" in str(error.value)
    forced = compare_runs(a, b, resamples=100, force=True)
    assert said in forced["objections"][0] and forced["tests"]["SC"]["pairs"] > 0
    shown = CliRunner().invoke(app, [str(a), str(b), "--resamples", "100", "--force"])
    assert shown.exit_code == 0 and "Compared because of --force" in shown.output


def test_the_order_of_judges_does_not_matter(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(4, judges=("judge-a", "judge-b")))
    b = folder(tmp_path / "b", coser_run(4, judges=("judge-b", "judge-a")))
    assert compare_runs(a, b, resamples=100)["objections"] == []


def test_other_settings_that_differ_are_reported_and_allowed(tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a", coser_run(4)), folder(tmp_path / "b", coser_run(4, rounds=20, top_p=0.5))
    assert compare_runs(a, b, resamples=100)["other_settings"] == {"rounds": [10, 20], "top_p": [0.9, 0.5]}


def test_scenes_with_another_text_are_refused(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(4), texts={})
    b = folder(tmp_path / "b", coser_run(4), texts={2: "changed"})
    with pytest.raises(OtherMeasureError, match=r"1 of 4 shared scenes, such as .* have different texts"):
        compare_runs(a, b)


def test_seeds_are_paired_with_the_mean_over_their_runs(tmp_path: Path) -> None:
    results = [minimax_run(8, broken=1), minimax_run(8, seed=1, harsh=4.0, npc="base")]
    a, b = (folder(tmp_path / name, one) for name, one in zip("ab", results, strict=True))
    found = compare_runs(a, b, resamples=300)
    assert (found["evaluation"], found["unit"], found["shared"]) == ("minimax", "seed", 8)
    assert list(found["tests"])[-4:] == ["worlds", "stories", "preferences", "overall"]
    of_last = [
        fmean(overall(case["columns"]) for case in one["cases"] if case["seed_id"] == "seed 7|`" and case["columns"])
        for one in results
    ]
    tests = found["tests"]["overall"]
    assert of_last[0] != of_last[1] and tests["first"] == pytest.approx(results[0]["figures"]["scores"]["overall"])
    assert tests["pairs"] == 8 and tests["p_value"] < 0.05
    other = folder(tmp_path / "c", minimax_run(8, judge="judge-b", judge_chunk=10))
    with pytest.raises(OtherMeasureError, match=r"judge differs .*; judge_chunk differs"):
        compare_runs(a, other)
    cheaper = folder(
        tmp_path / "d", {**results[0], "settings": {**results[0]["settings"], "penalties": {"minor": 1.0}}}
    )
    with pytest.raises(OtherMeasureError, match="penalties differs"):
        compare_runs(a, cheaper)


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(4))
    with pytest.raises(FileNotFoundError, match=r"has no results\.json"):
        compare_runs(a, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="dialogues were not judged"):
        compare_runs(a, folder(tmp_path / "played", coser_run(4, judged=False)))
    with pytest.raises(ValueError, match=r"run of 'coser' and .* of 'minimax'"):
        compare_runs(a, folder(tmp_path / "seeds", minimax_run(2)))
    with pytest.raises(ValueError, match="share no scene"):
        compare_runs(a, folder(tmp_path / "others", coser_run(4, books=("Another",))))
    for name, text in (("broken", '{"settings"'), ("list", "[]"), ("other", '{"settings": {}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"is not JSON|has no results of|must be a JSON object"):
            compare_runs(a, tmp_path / name)


def test_existing_dialogues_are_named_by_their_file(tmp_path: Path) -> None:
    """No model was asked, so there is none to name: the file says what was scored."""
    sides = [tmp_path / name / "dialogues.jsonl" for name in ("ours", "theirs")]
    scenes = [form_scene(at, 3) for at in range(2)]
    turn = {"name": "Ann", "text": "Tea?", "raw": GOOD.format("Ann"), "origin": "model"}
    rows = [{"key": list(one.key), "turns": [turn, turn], "ended_by": "rounds"} for one in scenes]
    runs = [
        folder(tmp_path / f"form{at}", score_played(rows, scenes, {"evaluation": "form", "dialogues": str(file)}))
        for at, file in enumerate(sides)
    ]
    shown = CliRunner().invoke(app, [*map(str, runs), "--resamples", "20"], env={"COLUMNS": "300"})
    assert f"A: {sides[0]} (" in shown.output and f"B: {sides[1]} (" in shown.output, shown.output
    assert "not recorded" not in shown.output


def test_the_command_shows_a_table_and_writes_json(tmp_path: Path) -> None:
    a = folder(tmp_path / "a", coser_run(8, harsh=2.0))
    b = folder(tmp_path / "b", coser_run(8, harsh=7.0, seed=1, actor=f"[red]{HOSTILE}"))
    out = tmp_path / "new" / "compared"
    done = CliRunner().invoke(
        app, [str(a), str(b), "--out", str(out), "--resamples", "500"], env={"COLUMNS": "300"}, terminal_width=300
    )
    assert done.exit_code == 0, done.output
    written = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(compare_runs(a, b, resamples=500)))
    assert f"B: [red]{HOSTILE}" in done.output and "8 scenes in both runs" in done.output
    assert f"{written['tests']['avg']['difference']:+.2f}" in done.output
    assert coser_settings()["seed"] == 42 and not list(a.glob("compare*"))
