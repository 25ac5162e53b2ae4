"""The MiniMax-style bench from end to end: play, judge, go on after a kill, count what is missing; calibration."""

from __future__ import annotations

import asyncio
import json
import random
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from her_hf.cli import eval_minimax
from her_hf.durable import OtherRunError, read_json
from her_hf.evaluation.minimax.calibrate import Calibration, calibrate, load_published
from her_hf.evaluation.minimax.report import write_minimax_report
from her_hf.evaluation.minimax.run import MinimaxRun, run_minimax, run_minimax_now
from her_hf.inference import AccessRefused, Caller, Ledger, Messages, ModelError, Sampling
from her_hf.judging.critics.minimax import ChunkJudging
from her_hf.scenes import SceneError
from her_hf.scoring.minimax import COLUMNS
from her_hf.simulation.minimax import MinimaxSettings
from tests.support.journals import check_refusals
from tests.support.minimax import (
    ANN,
    LIN,
    Rule,
    caller,
    everything,
    her_npc,
    model_of,
    plain_user,
    planted,
    refuses,
    serving_rule,
)

SETTINGS = MinimaxSettings("her", turns=8)
JUDGING = ChunkJudging(4)


def evaluate(
    out: Path,
    *,
    npc: Rule | None = her_npc,
    user: Rule = plain_user,
    judge: Rule | None = planted,
    judge_name: str = "judge",
    settings: MinimaxSettings = SETTINGS,
    **changes: Any,
) -> dict[str, Any]:
    """One start of an evaluation with models that answer by rule; without `npc` it only judges."""
    run: dict[str, Any] = {"seeds": [ANN, LIN], "judging": JUDGING, "runs": 2, "show": False}
    with Ledger(out / "ledger.sqlite") as ledger:
        if npc:
            run |= {"settings": settings, "npc": caller(npc, ledger=ledger, name="npc")}
            run |= {"user": caller(user, ledger=ledger, name="user")}
        if judge:
            run |= {"judge": caller(judge, ledger=ledger, name=judge_name)}
        return run_minimax_now(MinimaxRun(out=out, **(run | changes)))


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def settled(out: Path) -> list[bytes]:
    """What two equal runs must share, to the byte."""
    return [(out / name).read_bytes() for name in ("dialogues.jsonl", "judgements.jsonl", "results.json")]


# -- a whole run


def test_a_run_from_seeds_to_scores(tmp_path: Path) -> None:
    results = evaluate(tmp_path)
    assert results == read_json(tmp_path / "results.json")
    dialogues, judgements = rows(tmp_path, "dialogues"), rows(tmp_path, "judgements")
    assert [(row["language"], row["seed_id"], row["run"]) for row in dialogues] == [
        (code, "mill", run) for code in ("en", "zh") for run in (1, 2)
    ]
    first = dialogues[0]
    assert len(first["turns"]) == 10 and first["ended_by"] == "turns" and first["failure"] is None
    assert first["turns"][0] == {"role": "ai", "name": "Ann", "text": ANN.ai_prologue, "round": 0}
    assert [row["rounds"] for row in judgements[:2]] == [[2, 5], [6, 9]] and len(judgements) == 8
    whistles = [
        turn for row in dialogues for turn in row["turns"] if turn["role"] == "ai" and "whistle" in turn["text"]
    ]
    assert results["counts"]["judged"]["errors"]["knowledge_score"]["major"] == len(whistles) > 0
    wrong = sum(turn["round"] % 4 == 0 for turn in whistles)
    assert results["counts"]["judged"]["quotes_not_found"] == wrong > 0
    knowledge = 100 - 15 * len(whistles) / 8
    assert results["figures"]["scores"]["columns"]["knowledge_score"] == pytest.approx(knowledge)
    assert results["figures"]["scores"]["columns"]["logic_score"] == 100.0
    assert results["figures"]["scores"]["pillars"]["worlds"] == pytest.approx((200 + knowledge) / 3)
    assert results["figures"]["scores"]["overall"] == pytest.approx(50 + 0.5 * (200 + knowledge) / 3)
    assert results["missing"]["share"] == 0 and results["missing"]["expected"] == 8
    assert [point["n"] for point in results["figures"]["curve"]] == [4, 4]
    assert (
        set(results["figures"]["by_language"]) == {"en", "zh"}
        and results["figures"]["by_language"]["en"]["sessions"] == 2
    )
    assert (
        results["intervals"]["overall"] is not None
        and results["figures"]["by_language"]["en"]["intervals"]["overall"] is None
    )
    assert results["settings"]["turns"] == 8 and results["settings"]["runs"] == 2
    assert fmean(case["overall"] for case in results["cases"]) == pytest.approx(
        results["figures"]["scores"]["overall"]
    )
    (spent,) = (start["spent"] for start in rows(tmp_path, "sessions"))
    assert spent["npc"]["asked"] == 16 and spent["judge"]["asked"] == 8
    assert read_json(tmp_path / "run.json")["style"] == "her" and (tmp_path / "judging.json").exists()


def test_concurrency_and_kills_change_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    evaluate(tmp_path / "one", window=1)
    evaluate(tmp_path / "many", window=64)
    calls: list[str] = []
    kills = iter((5, 11, 19, 37, 10_000))

    def mortal(rule: Rule, until: int) -> Rule:
        def answer(messages: Messages, sampling: Sampling) -> str:
            if len(calls) >= until:
                raise MemoryError("killed")
            calls.append(json.dumps([messages, sampling.seed]))
            return rule(messages, sampling)

        return answer

    starts = 0
    for until in kills:
        starts += 1
        try:
            rules = [mortal(rule, until) for rule in (her_npc, plain_user, planted)]
            evaluate(tmp_path / "killed", npc=rules[0], user=rules[1], judge=rules[2])
            break
        except MemoryError:
            continue
    assert starts == 5
    assert len(calls) == len(set(calls)) == 32 + 8
    assert settled(tmp_path / "one") == settled(tmp_path / "many") == settled(tmp_path / "killed")
    evaluate(tmp_path / "killed", npc=refuses, user=refuses, judge=refuses)
    assert rows(tmp_path / "killed", "sessions")[-1]["spent"]["npc"]["asked"] == 0 and settled(
        tmp_path / "killed"
    ) == settled(tmp_path / "one")


@pytest.mark.parametrize(("name", "needs"), [("dialogues", "seed_digest"), ("judgements", "errors")])
def test_lines_of_an_older_shape_or_another_run_are_refused(tmp_path: Path, name: str, needs: str) -> None:
    evaluate(tmp_path)
    check_refusals(tmp_path / f"{name}.jsonl", lambda: evaluate(tmp_path), needs=needs)


def test_a_dialogue_is_judged_while_others_are_still_played(tmp_path: Path) -> None:
    asked: list[str] = []

    def heard(role: str, rule: Rule) -> Rule:
        def answer(messages: Messages, sampling: Sampling) -> str:
            asked.append(role)
            return rule(messages, sampling)

        return answer

    sides = {"npc": heard("playing", her_npc), "user": heard("playing", plain_user)}
    evaluate(tmp_path, **sides, judge=heard("judging", planted), window=1)
    assert asked == [*["playing"] * 8, *["judging"] * 2] * 4


def test_a_key_that_is_refused_ends_the_run_and_another_goes_on(tmp_path: Path) -> None:
    def unauthorized(*_: Any) -> str:
        raise ModelError("http://127.0.0.1:8000/v1 refused the key (401).", kind="status", status=401)

    with pytest.raises(AccessRefused, match="refused the key"):
        evaluate(tmp_path, npc=unauthorized)
    assert not (tmp_path / "dialogues.jsonl").exists() and not (tmp_path / "results.json").exists()
    with pytest.raises(AccessRefused, match="refused the key"):
        evaluate(tmp_path, judge=unauthorized)
    assert not (tmp_path / "judgements.jsonl").exists()
    assert evaluate(tmp_path)["missing"]["missing"] == 0
    evaluate(tmp_path / "whole")
    assert settled(tmp_path) == settled(tmp_path / "whole")


def test_files_name_no_address(tmp_path: Path) -> None:
    def gone(*_: Any) -> str:
        raise ModelError("No server answers at http://127.0.0.1:8000/v1 (host gpu-7:8000).", kind="connection")

    evaluate(tmp_path / "played", npc=gone, seeds=[ANN], runs=1)
    evaluate(tmp_path / "judged", judge=gone, seeds=[ANN], runs=1)
    for folder in ("played", "judged"):
        text = "".join(
            file.read_text(encoding="utf-8") for file in (tmp_path / folder).iterdir() if "sqlite" not in file.name
        )
        assert "No server answers at [address] (host [address])." in text and "8000" not in text


def test_a_session_that_breaks_off_is_counted_and_played_again(tmp_path: Path) -> None:
    def flaky(messages: Messages, sampling: Sampling) -> str:
        chinese = "林晚" in messages[0]["content"]
        return refuses() if chinese and len(messages) > 5 else her_npc(messages, sampling)

    results = evaluate(tmp_path, npc=flaky)
    assert results["counts"]["ended_by"] == {"failed": 2, "turns": 2}
    assert results["missing"]["failures"][0] == {
        "key": ["zh", "mill", 1],
        "cause": "status",
        "detail": "the server is on fire (HTTP 400)",
    }
    assert results["cases"][2]["turns"] == 4  # where it ended early
    assert results["missing"]["by_cause"] == {"dialogue": 4} and results["missing"]["share"] == 0.5
    assert tuple(results["counts"]["judged"][name] for name in ("seeds", "missing_seeds", "missing_sessions")) == (
        1,
        1,
        2,
    )
    assert (
        results["figures"]["by_language"]["zh"]["scores"]["overall"] is None and results["cases"][2]["overall"] is None
    )
    whole = evaluate(tmp_path)
    assert whole["missing"]["failures"] == [] and whole["missing"]["share"] == 0
    evaluate(tmp_path / "whole")
    assert settled(tmp_path) == settled(tmp_path / "whole")


def test_when_nothing_could_be_played_all_is_missing(tmp_path: Path) -> None:
    results = evaluate(tmp_path, npc=refuses)
    write_minimax_report(results, tmp_path)
    assert results["figures"]["scores"]["overall"] is None and results["missing"]["share"] == 1.0


def test_empty_turns_are_judged_as_silence(tmp_path: Path) -> None:
    seen = []

    def judge(messages: Messages, _: Sampling) -> str:
        seen.append(messages[-1]["content"])
        return '{"errors": []}'

    results = evaluate(tmp_path, npc=lambda *_: "", judge=judge, seeds=[ANN], runs=1)
    assert results["counts"]["empty_turns"] == {"ai": 4, "user": 0} and results["counts"]["repeated_calls"] == 8
    assert "[2] Ann: (no reply)" in seen[0]


def test_judgements_that_cannot_be_had_are_missing_and_counted(tmp_path: Path) -> None:
    def judge(messages: Messages, sampling: Sampling) -> str:
        if "林晚" not in messages[0]["content"]:
            return planted(messages)
        return "prose" if "[2]" in messages[-1]["content"].split("要检查")[-1] else refuses()

    results = evaluate(tmp_path, judge=judge)
    assert results["missing"]["by_cause"] == {"no_json": 2, "request": 2} and results["missing"]["share"] == 0.5
    assert results["figures"]["by_language"]["zh"]["scores"]["overall"] is None
    assert results["figures"]["by_language"]["zh"]["missing_sessions"] == 2
    missing = [row for row in rows(tmp_path, "judgements") if row["missing"]]
    assert {row["missing"]["cause"] for row in missing} == {"no_json", "request"} and missing[0]["errors"] is None
    asked: list[Messages] = []

    def again(messages: Messages, sampling: Sampling) -> str:
        asked.append(messages)
        return planted(messages)

    assert evaluate(tmp_path, judge=again)["missing"]["by_cause"] == {"no_json": 2}
    assert len(asked) == 2  # only what had failed


def test_the_last_stretch_ends_at_the_last_turn(tmp_path: Path) -> None:
    settings, judging = MinimaxSettings("her", turns=8), ChunkJudging(3)
    results = evaluate(tmp_path, settings=settings, judging=judging, seeds=[LIN], runs=1)
    shown = [[point["first_turn"], point["last_turn"]] for point in results["figures"]["curve"]]
    assert shown == [[1, 3], [4, 6], [7, 8]]
    assert results["figures"]["by_language"]["zh"]["curve"] == results["figures"]["curve"]
    # Judgements name rounds, of which the opening has two.
    assert [[at - 1 for at in row["rounds"]] for row in rows(tmp_path, "judgements")] == shown
    assert "7–8" in write_minimax_report(results, tmp_path).read_text(encoding="utf-8")


# -- folders and phases


def test_playing_and_judging_apart_give_the_same(tmp_path: Path) -> None:
    played = evaluate(tmp_path / "apart", judge=None)
    assert "scores" not in played and not (tmp_path / "apart" / "judgements.jsonl").exists()
    judged = evaluate(tmp_path / "apart", npc=None)
    whole = evaluate(tmp_path / "whole")
    assert judged == whole


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    evaluate(tmp_path)
    with pytest.raises(OtherRunError, match="turns: 8 there, 6 now"):
        evaluate(tmp_path, settings=MinimaxSettings("her", turns=6))
    with pytest.raises(OtherRunError, match="judge"):
        evaluate(tmp_path, judge_name="another")
    with pytest.raises(OtherRunError, match="judge_chunk: 4 there, 6 now"):
        evaluate(tmp_path, npc=None, judging=ChunkJudging(6))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(OtherRunError, match=r"thesis\.txt"):
        evaluate(other)


def test_judging_needs_the_dialogues_of_these_seeds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no dialogue of 4 of 4"):
        evaluate(tmp_path / "none", npc=None)
    assert not (tmp_path / "none" / "judging.json").exists()
    evaluate(tmp_path, judge=None, runs=1)
    with pytest.raises(FileNotFoundError, match="has no dialogue of 2 of 4"):
        evaluate(tmp_path, npc=None)
    changed = ANN.model_copy(update={"ai_setting": "Another mill."})
    with pytest.raises(ValueError, match="another version of the seed"):
        evaluate(tmp_path, npc=None, seeds=[changed], runs=1)


def test_a_changed_seed_is_played_again(tmp_path: Path) -> None:
    evaluate(tmp_path, runs=1)
    changed = ANN.model_copy(update={"ai_prologue": "Go away."})
    evaluate(tmp_path, runs=1, seeds=[changed, LIN])
    assert rows(tmp_path, "dialogues")[0]["turns"][0]["text"] == "Go away."


def test_a_model_that_is_not_there_stops_the_run_before_anything_is_written(tmp_path: Path) -> None:
    async def nobody() -> dict[str, Any]:
        raise ModelError("no server answers", kind="status", status=404)

    gone, there = caller(planted), caller(everything)
    model_of(gone).fingerprint = nobody  # type: ignore[method-assign]
    for npc, judge in ((gone, there), (there, gone)):
        out = tmp_path / "out"
        with pytest.raises(ModelError, match="no server answers"):
            run_minimax_now(MinimaxRun([ANN], out, SETTINGS, npc, there, judge, runs=1, show=False))
        assert not (out / "dialogues.jsonl").exists() and not model_of(there).asked


@pytest.mark.parametrize("changes", [{"runs": 0}, {"npc": "one"}, {"settings": SETTINGS, "npc": "one"}])
def test_a_run_needs_all_of_its_parts(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"runs must be|give all of settings, npc and user"):
        MinimaxRun([ANN], tmp_path, **changes)
    with pytest.raises(ValueError, match="distinct keys"):
        asyncio.run(run_minimax(MinimaxRun([ANN, ANN], tmp_path)))


def test_a_model_of_several_roles_is_counted_once(tmp_path: Path) -> None:
    one = caller(everything)
    run = MinimaxRun([ANN], tmp_path, SETTINGS, one, one, one, JUDGING, runs=1, show=False)
    run_minimax_now(run)
    assert rows(tmp_path, "sessions")[0]["spent"] == {"npc": one.spent.as_dict()} and one.spent.asked == 10
    assert model_of(one).closed == 1


# -- the command


def command(*words: object) -> Any:
    app = typer.Typer()
    app.add_typer(eval_minimax.app, name="minimax")
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, ["minimax", *map(str, words)])


def test_the_command_plays_and_judges(tmp_path: Path) -> None:
    common = ["--out", tmp_path, "--turns", 4, "--runs", 1, "--judge-chunk", 2, "--language", "en", "--limit", 2]
    with serving_rule() as (url, bodies):
        playing = ["--npc", f"{url},{url}/v1", "--style", "her", "--user", url, "--user-name", "rule"]
        played = command(*common, *playing, "--simulate-only")
        assert played.exit_code == 0, played.output
        assert "2 dialogues of 2 seeds; 0 failed." in played.output
        judged = command(*common, "--judge", url, "--judge-only")
        assert judged.exit_code == 0, judged.output
        calls = len(bodies)
        again = command(*common, *playing, "--judge", url)
        assert again.exit_code == 0, again.output
    assert calls == len(bodies) == 2 * 4 + 2 * 2
    assert re.search(r"overall +\d+\.\d\d", judged.output) and "not with published values" in judged.output
    results = read_json(tmp_path / "results.json")
    assert results["counts"]["seeds"] == 2 and results["settings"]["style"] == "her"
    assert {"report.md", "curve.png", "pillars.png"} <= {file.name for file in tmp_path.iterdir()}
    assert {body["temperature"] for body in bodies} == {0.8, 1.0, 0.0}
    assert "response_format" in bodies[-1]


def test_the_command_ends_with_3_when_too_much_is_missing(tmp_path: Path) -> None:
    def rule(messages: Messages, sampling: Sampling) -> str:
        said = everything(messages, sampling)
        return "I would rather not." if said.startswith("{") else said

    words = ["--out", tmp_path, "--turns", 2, "--runs", 1, "--limit", 1, "--style", "plain"]
    with serving_rule(rule) as (url, _):
        words += ["--npc", url, "--user", url, "--judge", url]
        assert command(*words, "--max-missing", 1).exit_code == 0
        ended = command(*words)
    assert ended.exit_code == 3 and "100.0% of the judgements are missing" in ended.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--simulate-only", "--judge-only"], "exclude each other"),
        (["--npc", "http://x", "--user", "http://x", "--judge", "http://x"], "--style"),
        (["--npc", "http://x", "--user", "http://x", "--style", "her"], "--judge must be given"),
        (["--judge", "http://x", "--judge-only", "--seeds", "nowhere.jsonl"], "neither a file or folder"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, words: list[str], said: str) -> None:
    ended = command("--out", tmp_path / "out", *words)
    assert ended.exit_code == 1 and said in str(ended.exception)
    assert not (tmp_path / "out").exists()


# -- calibration


def published(folder: Path, *, models: int = 6, **changes: Any) -> Path:
    """A small copy of the public dataset: the more a model whistles, the worse its published scores."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for code, seed in (("en", ANN), ("zh", LIN)):
        dialogues, evaluations = [], []
        for model in range(models):
            names = {"seed_id": seed.id, "model_name": f"model-{model}", "run_id": "run_1"}
            turns = [
                {
                    "role": ("ai", "user")[at % 2],
                    "round": at // 2,
                    "text": "I whistle." if at // 2 <= model else "Yes.",
                }
                for at in range(2 + 4 * 6)
            ]
            dialogues.append({**names, "dialogue": json.dumps(turns), "num_turns": len(turns)})
            scores = {column: 90.0 for column in COLUMNS} | {"knowledge_score": 90.0 - model}
            evaluations.append({**names, **scores} | changes)
        files = {"seeds": [seed.model_dump(exclude={"language"})], "dialogues": dialogues, "evaluations": evaluations}
        (folder / "data" / code).mkdir(parents=True)
        for name, found in files.items():
            random.Random(0).shuffle(found)
            parquet.write_table(pyarrow.Table.from_pylist(found), folder / "data" / code / f"{name}.parquet")
    return folder


def calibration(out: Path, source: Path, judge: Caller | None = None, **changes: Any) -> dict[str, Any]:
    run = Calibration(judge or caller(planted), out, str(source), judging=ChunkJudging(4), show=False, **changes)
    return asyncio.run(calibrate(run))


def test_a_judge_is_ranked_against_published_scores(tmp_path: Path) -> None:
    source = published(tmp_path / "hub")
    results = calibration(tmp_path / "out", source)
    assert results["spearman"]["overall"]["n"] == 12 and results["spearman"]["overall"]["rho"] > 0.9
    assert results["spearman"]["columns"]["knowledge_score"]["rho"] == results["spearman"]["overall"]["rho"]
    assert results["spearman"]["pillars"]["stories"]["rho"] is None
    assert "constant" in results["spearman"]["pillars"]["stories"]["why"]
    assert results["by_language"]["zh"]["overall"]["n"] == 6 and results["accepted"]
    assert results["dialogues"] == 12 and (results["missing"]["expected"], results["missing"]["missing"]) == (72, 0)
    assert results == read_json(tmp_path / "out" / "calibration.json")
    again = caller(refuses)
    assert calibration(tmp_path / "out", source, again)["spearman"] == results["spearman"]
    assert not model_of(again).asked


def test_a_calibration_that_was_killed_goes_on(tmp_path: Path) -> None:
    source, whole, out = published(tmp_path / "hub"), tmp_path / "whole", tmp_path / "out"
    calls: list[Messages] = []

    def mortal(messages: Messages, sampling: Sampling) -> str:
        if len(calls) >= 30:
            raise MemoryError("killed")
        calls.append(messages)
        return planted(messages)

    calibration(whole, source)
    with pytest.raises(MemoryError):
        calibration(out, source, caller(mortal), window=2)
    written = rows(out, "judgements")
    assert 0 < len(written) < 72 and not (out / "calibration.json").exists()
    with (out / "judgements.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"language": "e')
    again = caller(planted)
    calibration(out, source, again, window=2)
    assert len(model_of(again).asked) == 72 - len(written)
    for name in ("judgements.jsonl", "calibration.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    check_refusals(out / "judgements.jsonl", lambda: calibration(out, source), needs="judged")


def test_a_sample_is_drawn_by_the_seed(tmp_path: Path) -> None:
    source = published(tmp_path / "hub")
    drawn = calibration(tmp_path / "a", source, limit=5)
    assert drawn["dialogues"] == 5
    assert drawn["cases"] == calibration(tmp_path / "b", source, limit=5)["cases"]
    more = calibration(tmp_path / "a", source, limit=8)
    assert more["dialogues"] == 8 and all(case in more["cases"] for case in drawn["cases"])
    assert calibration(tmp_path / "c", source, language="zh")["dialogues"] == 6


def test_dialogues_without_judgement_are_left_out(tmp_path: Path) -> None:
    source = published(tmp_path / "hub")

    def judge(messages: Messages, sampling: Sampling) -> str:
        return "prose" if "林晚" in messages[0]["content"] else planted(messages)

    results = calibration(tmp_path / "out", source, caller(judge))
    assert (results["missing_dialogues"], results["spearman"]["overall"]["n"]) == (6, 6)
    assert results["missing"]["share"] == 0.5 and results["by_language"]["zh"]["overall"]["rho"] is None


def test_calibration_without_the_files_says_so(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"holds no data/en/dialogues\.parquet"):
        calibration(tmp_path / "out", tmp_path)
    with pytest.raises(SceneError, match="the Hub has no dataset"):
        load_published("MiniMaxAI/role-play-bench", "zh")
    with pytest.raises(SceneError, match="field 'logic_score': must be a score from 0 to 100"):
        calibration(tmp_path / "out", published(tmp_path / "hub", logic_score=101.0))
    assert not (tmp_path / "out").exists()


def test_the_command_calibrates(tmp_path: Path) -> None:
    source = published(tmp_path / "hub", models=3)
    with serving_rule() as (url, _):
        ended = command("calibrate", "--out", tmp_path / "out", "--judge", url, "--source", source, "--judge-chunk", 6)
    assert ended.exit_code == 0, ended.output
    assert "The judge is accepted" in ended.output and "constant" in ended.output
