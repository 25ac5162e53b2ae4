"""Measuring a judge on pairs, and `her-hf judge`: figures, failures, resume, report, commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from her_hf.cli.main import app
from her_hf.durable import OtherRunError
from her_hf.evaluation.reward.plots import draw_models
from her_hf.evaluation.reward.report import comparison_table, write_reward_report
from her_hf.evaluation.reward.results import length_group, reward_results
from her_hf.evaluation.reward.run import JUDGED, RewardRun, judge_file_now, run_reward_now
from her_hf.inference import AccessRefused, Caller, Ledger, ModelError, Retries
from her_hf.judging import BadPair, Pair, PairJudging, PairwiseJudge
from her_hf.judging.pairwise.reward_model import write_reward_settings
from tests.support.journals import check_refusals
from tests.support.pairs import Judge, a_pair, compact, first_shown
from tests.support.paths import ROOT
from tests.support.token_server import serving_tokens

HER_MINI = ROOT / "dataset_cards" / "her-mini"
QUICK = Retries(max_retries=1, first=0.001, longest=0.01)
COMPACT = PairJudging(form="compact", attempts=2)


def pairs() -> list[Pair | BadPair]:
    """Twelve good pairs of two kinds, the better side at either place, and a row that is not a pair."""
    found: list[Pair | BadPair] = []
    for number in range(12):
        pair = a_pair(number, kind="lecture" if number % 3 == 0 else "anachronism", source="written")
        found.append(pair.swapped() if number % 2 else pair)
    return [*found, BadPair("pairs.jsonl, line 13: cand_1 is empty")]


def rule(text: str, _: int) -> str | ModelError:
    """Right but for some: number 1 by place alone, 2 prose, 3 HTML, 4 half a JSON, 5 a server's error, 6 wrong."""
    at = int(text.split("number ")[1].split("?")[0])
    side = first_shown(text)
    other = {"cand_1": "cand_2", "cand_2": "cand_1"}[side]
    said: dict[int, str | ModelError] = {
        1: compact("cand_1", A="cand_1"),
        2: "I like the first one.",
        3: "<html>bad gateway</html>",
        4: '{"principles": {"A": "ca',
        5: ModelError("broken", kind="status", status=500),
        6: compact(other, A=other, B=other),
    }
    return said.get(at, compact(side, A=side, B=side, C="tie"))


def run(out: Path, backend: Judge, *, concurrency: int = 16, unseen: tuple[str, ...] = ("lecture",)) -> dict[str, Any]:
    with Ledger(out / "ledger.sqlite") as ledger:
        caller = Caller(backend, ledger=ledger, concurrency=concurrency, retries=QUICK)  # type: ignore[arg-type]
        return run_reward_now(RewardRun(pairs(), out, PairwiseJudge(caller, COMPACT), unseen=unseen, show=False))


def test_results_of_a_judge_with_every_failing(tmp_path: Path) -> None:
    results = run(tmp_path / "out", Judge(rule))
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    missing = results["missing"]
    assert (missing["expected"], missing["missing"]) == (13, 5)
    assert missing["by_cause"] == {"no_json": 2, "cut": 1, "request": 1, "pair": 1}
    # Of eight with a verdict six are right, one is a tie, one is wrong.
    assert results["counts"]["pairs"] == 8 and results["figures"]["accuracy"] == pytest.approx(6 / 8)
    assert results["figures"]["half_credit"] == pytest.approx(6.5 / 8)
    assert results["figures"]["position_consistency"] == pytest.approx(7 / 8)
    assert (
        results["figures"]["by_kind"]["lecture"]["pairs"] + results["figures"]["by_kind"]["anachronism"]["pairs"] == 8
    )
    assert set(results["figures"]["by_group"]) == {"seen", "unseen"} and set(results["figures"]["by_source"]) == {
        "written"
    }
    assert results["counts"]["first_unreadable"] == 6  # three pairs in both orders


def test_files_do_not_depend_on_concurrency_or_a_kill(tmp_path: Path) -> None:
    run(tmp_path / "one", Judge(rule), concurrency=1)
    run(tmp_path / "many", Judge(rule), concurrency=16)

    class Killed(Judge):
        async def chat(self, *given: Any, **how: Any) -> Any:
            if len(self.calls) >= 9:
                raise RuntimeError("killed")
            return await super().chat(*given, **how)

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", Killed(rule), concurrency=1)
    again = Judge(rule)
    run(tmp_path / "killed", again, concurrency=4)
    whole = Judge(rule)
    run(tmp_path / "whole", whole, concurrency=1)
    assert len(again.calls) < len(whole.calls)
    for name in ("judged.jsonl", "results.json"):
        texts = {(tmp_path / folder / name).read_bytes() for folder in ("one", "many", "killed")}
        assert len(texts) == 1


def test_lines_of_an_older_shape_or_another_run_are_refused(tmp_path: Path) -> None:
    run(tmp_path, Judge(rule))
    check_refusals(tmp_path / "judged.jsonl", lambda: run(tmp_path, Judge(rule)), needs="per_order")


def test_files_name_no_address(tmp_path: Path) -> None:
    def at(port: int) -> Judge:
        gone = ModelError(f"http://127.0.0.1:{port}/v1 was silent (gpu-7:{port}).", kind="status", status=400)
        return Judge(lambda text, call: gone if "number 3?" in text else rule(text, call))

    results = [run(tmp_path / str(port), at(port)) for port in (8000, 8001)]
    assert results[0] == results[1] and results[0]["missing"]["by_cause"]["request"] == 2
    for port in ("8000", "8001"):
        text = "".join(file.read_text() for file in (tmp_path / port).iterdir() if "sqlite" not in file.name)
        assert port not in text and "[address] was silent ([address])." in text


def test_a_refused_key_ends_the_run(tmp_path: Path) -> None:
    refused = ModelError("The key was refused (401).", kind="status", status=401)
    with pytest.raises(AccessRefused, match="refused"):
        run(tmp_path / "out", Judge(lambda *_: refused))
    assert '"request"' not in (tmp_path / "out" / "judged.jsonl").read_text()  # what is not a pair needs no judge
    assert not (tmp_path / "out" / "results.json").exists()
    run(tmp_path / "out", Judge(rule))
    run(tmp_path / "whole", Judge(rule))
    for name in ("judged.jsonl", "results.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_only_requests_that_failed_are_made_again(tmp_path: Path) -> None:
    run(tmp_path / "out", Judge(rule))
    second = Judge(lambda text, _: compact(first_shown(text)))
    results = run(tmp_path / "out", second)
    assert len(second.calls) == 2 and all("number 5" in text for text in second.calls)
    assert results["missing"]["missing"] == 4 and results["counts"]["pairs"] == 9


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out", Judge(rule))
    with pytest.raises(OtherRunError, match="model"):
        run(tmp_path / "out", Judge(rule, "another"))


def test_pairs_without_labels_measure_nothing(tmp_path: Path) -> None:
    judge = PairwiseJudge(Caller(Judge(rule), retries=QUICK), COMPACT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a label"):
        run_reward_now(RewardRun([a_pair(label=None)], tmp_path / "out", judge, show=False))


@pytest.mark.parametrize(
    ("label", "sizes", "group"),
    [
        ("cand_1", [100, 120], "much shorter"),
        ("cand_1", [100, 119], "shorter"),
        ("cand_1", [100, 104], "like"),
        ("cand_2", [100, 105], "longer"),
        ("cand_2", [100, 120], "much longer"),
        ("cand_2", [100, 100], "like"),
        ("tie", [100, 300], None),
        (None, [100, 300], None),
    ],
)
def test_lengths(label: str | None, sizes: list[int], group: str | None) -> None:
    assert length_group({"label": label, "characters": sizes}) == group


def test_report_and_plots(tmp_path: Path) -> None:
    results = run(tmp_path / "out", Judge(rule))
    text = write_reward_report(results, tmp_path / "out").read_text()
    for part in ("75.0%", "5 of 13", "lecture", "Cohen's kappa", "Both orders agree on 87.5%", "her-hf eval reward"):
        assert part in text
    assert (tmp_path / "out" / "reward.png").stat().st_size > 10_000
    models = {"base": results, "RM-SFT": results}
    draw_models(models, tmp_path / "models.png")
    assert (tmp_path / "models.png").stat().st_size > 10_000
    table = comparison_table(models)
    assert table.count("\n") == 3 and "unseen kinds" in table and "75.0%" in table


def test_a_report_without_a_verdict_says_why(tmp_path: Path) -> None:
    results = run(tmp_path / "out", Judge(lambda *_: "prose"))
    text = write_reward_report(results, tmp_path / "out").read_text()
    assert "13 of 13" in text and "## Accuracy" not in text and results["figures"]["accuracy"] is None


def test_a_mistyped_kind_is_refused(tmp_path: Path, backend: Judge) -> None:
    words = ["eval", "reward", "--model", "http://m", "--pairs", str(write_pairs(tmp_path / "p.jsonl"))]
    said = CliRunner().invoke(app, [*words, "--unseen", "lectures", "--out", str(tmp_path / "out")])
    assert isinstance(said.exception, ValueError) and "lectures" in str(said.exception)


# -- her-hf judge


def write_pairs(file: Path) -> Path:
    rows = [json.dumps(pair.to_row()) if isinstance(pair, Pair) else '{"prompt": []}' for pair in pairs()]
    file.write_text("".join(f"{row}\n" for row in rows))
    return file


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """What the commands open, whatever model is named."""
    found = Judge(rule)

    def open_caller(spec: str, **how: Any) -> Caller:
        assert how["attach"] is False
        return Caller(found, ledger=how["ledger"], concurrency=how["concurrency"], retries=QUICK)  # type: ignore[arg-type]

    monkeypatch.setattr("her_hf.inference.open.open_caller", open_caller)
    return found


def test_judge_writes_a_line_a_pair(tmp_path: Path, backend: Judge) -> None:
    out = tmp_path / "verdicts.jsonl"
    words = ["judge", "--model", "http://m", "--pairs", str(write_pairs(tmp_path / "p.jsonl")), "--out", str(out)]
    words += ["--form", "compact", "--attempts", "2", "--max-missing", "0.5"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(13))
    assert all({"verdict", "per_order", "principles", "missing"} <= row.keys() for row in rows)
    assert rows[0]["verdict"] == "cand_1" and rows[12]["missing"]["cause"] == "pair"
    assert "line 13" in rows[12]["missing"]["detail"] and rows[5]["verdict"] is None
    calls = len(backend.calls)
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0 and out.read_text().count("\n") == 13
    assert len(backend.calls) == calls + 4  # the failed request alone, in both orders, each tried twice
    other = CliRunner().invoke(app, [*words, "--seed", "7"])
    assert other.exit_code == 1 and isinstance(other.exception, OtherRunError)


def test_circumstances_come_from_scenes_where_they_are_named(tmp_path: Path, backend: Judge) -> None:
    backend.rule = lambda *_: compact("cand_1")
    words = ["judge", "--model", "http://m", "--form", "compact", "--pairs", str(HER_MINI) + "-preferences"]
    words += ["--split", "validation", "--limit", "2", "--max-missing", "1"]
    bare = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "bare.jsonl")])
    assert bare.exit_code == 0 and "2 without circumstances" in bare.output and "--scenes" in bare.output
    whole = CliRunner().invoke(app, [*words, "--scenes", str(HER_MINI), "--out", str(tmp_path / "whole.jsonl")])
    assert whole.exit_code == 0 and "without circumstances" not in whole.output
    rows = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["circumstances"] for row in rows] == ["carried", "carried"]


def test_too_many_missing_verdicts_end_with_3(tmp_path: Path, backend: Judge) -> None:
    file = write_pairs(tmp_path / "p.jsonl")
    words = ["--model", "http://m", "--pairs", str(file), "--form", "compact"]
    said = CliRunner().invoke(app, ["judge", *words, "--out", str(tmp_path / "v.jsonl")])
    assert said.exit_code == 3 and "without a verdict" in said.output
    said = CliRunner().invoke(app, ["eval", "reward", *words, "--out", str(tmp_path / "out")])
    assert said.exit_code == 3 and "more than --max-missing" in said.output
    assert (tmp_path / "out" / "report.md").exists()


def test_eval_rm_reports(tmp_path: Path, backend: Judge) -> None:
    file = write_pairs(tmp_path / "p.jsonl")
    words = [
        "eval",
        "reward",
        "--model",
        "http://m",
        "--pairs",
        str(file),
        "--form",
        "compact",
        "--max-missing",
        "0.5",
    ]
    said = CliRunner().invoke(app, [*words, "--unseen", "lecture", "--out", str(tmp_path / "out")])
    assert said.exit_code == 0 and re.search(r"accuracy +75\.0%", said.output)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["settings"]["unseen"] == ["lecture"] and results["intervals"]["accuracy"][0] < 0.75


def test_models_side_by_side(tmp_path: Path, backend: Judge) -> None:
    words = [
        "eval",
        "reward",
        "--pairs",
        str(write_pairs(tmp_path / "p.jsonl")),
        "--form",
        "compact",
        "--max-missing",
        "0.5",
    ]
    run(tmp_path / "other", Judge(rule))
    CliRunner().invoke(app, [*words, "--model", "http://m", "--out", str(tmp_path / "base")])
    given = [*words, "--model", "http://m", "--out", str(tmp_path / "rm"), "--name", "RM-SFT"]
    said = CliRunner().invoke(app, [*given, "--compare-with", f"base={tmp_path / 'base'}"])
    assert said.exit_code == 0, said.output
    table = (tmp_path / "rm" / "models.md").read_text()
    assert all(f"| {name} | generated answer, with reasoning | 75.0%" in table for name in ("base", "RM-SFT"))
    assert (tmp_path / "rm" / "models.png").exists()
    wrong = CliRunner().invoke(app, [*given, "--compare-with", str(tmp_path / "base")])
    assert isinstance(wrong.exception, ValueError) and "NAME=DIR" in str(wrong.exception)
    other = CliRunner().invoke(app, [*given, "--compare-with", f"other={tmp_path / 'other'}"])
    assert other.exit_code == 0 or "different pairs" in str(other.exception)


def test_probabilities_are_no_text_that_could_be_unreadable() -> None:
    order = {"verdict": "cand_1", "missing": None, "attempts": 1, "repaired": False}
    row = {
        "index": 0,
        "key": "k",
        "label": "cand_1",
        "verdict": "cand_1",
        "confidence": 0.9,
        "missing": None,
        "characters": [9, 9],
    }
    settings = {"read": "probability", "comparison": "pairwise"}
    found = reward_results([{**row, "per_order": [order, order]}], settings)
    assert found["counts"] == {
        "pairs": 1,
        "orders": 2,
        "repaired": None,
        "first_unreadable": None,
        "circumstances_from_prompt": 0,
    }
    assert found["figures"]["first_unreadable_share"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--read", "probability"], "cannot compute the probability"),
        (["--form", "compact", "--principles", "fixed"], "compact form is pairwise"),
        (["--split", "test"], "leave out the split"),
    ],
)
def test_options_that_exclude_each_other(tmp_path: Path, backend: Judge, words: list[str], said: str) -> None:
    file = write_pairs(tmp_path / "p.jsonl")
    given = ["judge", "--model", "http://m", "--pairs", str(file), "--out", str(tmp_path / "v.jsonl"), *words]
    found = CliRunner().invoke(app, given)
    assert isinstance(found.exception, ValueError) and said in str(found.exception)


@pytest.mark.parametrize("command", [["judge"], ["eval", "reward"]], ids=" ".join)
def test_a_server_is_asked_as_its_checkpoint_says(tmp_path: Path, backend: Judge, command: list[str]) -> None:
    backend.rule = lambda *_: '{"verdict": "cand_1"}'
    words = [*command, "--model", "http://m", "--pairs", str(write_pairs(tmp_path / "p.jsonl")), "--max-missing", "1"]
    unknown = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "none")])
    assert isinstance(unknown.exception, ValueError) and backend.calls == []
    assert "--checkpoint" in str(unknown.exception) and "--form" in str(unknown.exception)
    write_reward_settings(tmp_path, form="compact", reasoning=False)
    done = CliRunner().invoke(app, [*words, "--checkpoint", str(tmp_path), "--out", str(tmp_path / "v")])
    assert done.exit_code == 0, done.output
    assert "## cand_1" not in backend.calls[0] and backend.schemas[0] is not None, "compact, and without thinking"


@pytest.mark.parametrize("command", [["judge"], ["eval", "reward"]], ids=" ".join)
def test_probabilities_are_read_at_a_url(tmp_path: Path, command: list[str]) -> None:
    words = [*command, "--pairs", str(write_pairs(tmp_path / "p.jsonl")), "--read", "probability", "--limit", "5"]
    with serving_tokens() as server:
        given = [*words, "--model", server.url, "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
        asked = len(server.asked("/v1/completions"))
        assert asked == 10
        assert CliRunner().invoke(app, given).exit_code == 0 and len(server.asked("/v1/completions")) == asked
    file = tmp_path / "out" if command == ["judge"] else tmp_path / "out" / JUDGED
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(sum(order["probabilities"].values()) == pytest.approx(1) for row in rows for order in row["per_order"])


def test_a_server_without_probabilities_ends_the_command(tmp_path: Path) -> None:
    words = ["judge", "--pairs", str(write_pairs(tmp_path / "p.jsonl")), "--read", "probability"]
    with serving_tokens(tokenizes=False, says="ignored") as server:
        done = CliRunner().invoke(app, [*words, "--model", server.url, "--out", str(tmp_path / "v.jsonl")])
        assert isinstance(done.exception, ModelError) and "sends no log-probabilities" in str(done.exception)
        assert "--read text" in str(done.exception) and done.exit_code == 1


def test_a_file_of_verdicts_belongs_to_one_judge(tmp_path: Path) -> None:
    first = PairwiseJudge(Caller(Judge(rule), retries=QUICK), COMPACT)  # type: ignore[arg-type]
    judge_file_now(first, pairs(), tmp_path / "v.jsonl", show=False)
    second = PairwiseJudge(Caller(Judge(rule, "other"), retries=QUICK), COMPACT)  # type: ignore[arg-type]
    with pytest.raises(OtherRunError, match="model"):
        judge_file_now(second, pairs(), tmp_path / "v.jsonl", show=False)


def test_what_a_start_spent_stands_beside_the_results(tmp_path: Path) -> None:
    run(tmp_path / "out", Judge(rule))
    run(tmp_path / "out", Judge(rule))
    starts = [json.loads(line) for line in (tmp_path / "out" / "sessions.jsonl").read_text().splitlines()]
    assert len(starts) == 2 and starts[0]["spent"]["judge"]["asked"] > starts[1]["spent"]["judge"]["asked"]
    assert set(starts[0]["seconds"]) == {"judging"} and {"version", "commit", "ended"} <= starts[0].keys()


def test_another_runs_figures_of_an_older_shape_are_refused_before_anything_is_judged(
    tmp_path: Path, backend: Judge
) -> None:
    words = ["eval", "reward", "--model", "http://m", "--pairs", str(write_pairs(tmp_path / "p.jsonl"))]
    older = tmp_path / "older"
    older.mkdir()
    (older / "results.json").write_text('{"missing": {}, "accuracy": 0.5}')
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out"), "--compare-with", f"base={older}"])
    assert isinstance(done.exception, ValueError) and "older her_hf" in str(done.exception)
    assert backend.calls == []
