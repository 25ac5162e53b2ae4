"""`her-hf eval coser` from scenes to results, against a server with latency and faults, killed and gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from her_hf.evaluation.coser.report import write_coser_report
from her_hf.evaluation.coser.run import CoserRun, run_coser, run_coser_now
from her_hf.evaluation.form.run import read_dialogues
from her_hf.inference import Caller, Messages, Retries, Sampling, open_model
from her_hf.judging import Judging
from her_hf.runs.addresses import without_address
from her_hf.scenes import Scene, coser_row, load_scenes
from her_hf.simulation.coser import CoserSettings, Troupe
from recipes.benchmarks.coser_speed import measure
from recipes.benchmarks.scripted_server import scripted
from tests.support.chat import serving
from tests.support.journals import check_refusals
from tests.support.minimax import caller, model_of
from tests.support.paths import ROOT, SHARED

SCENES = SHARED / "data" / "coser" / "scenes_id.json"
FILES = ("results.json", "dialogues.jsonl", "judgements.jsonl")


def mini_scenes(folder: Path, count: int) -> Path:
    """Scenes of her-mini in CoSER's form."""
    rows = [coser_row(scene) for scene in load_scenes(ROOT / "dataset_cards" / "her-mini", split="train")[:count]]
    file = folder / "scenes.json"
    file.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return file


def command(url: str, out: Path, scenes: Path, *options: str) -> list[str]:
    chosen = ["--scenes", str(scenes), "--actor", url, "--judge", url, "--out", str(out), "--max-missing", "1"]
    return [sys.executable, "-m", "her_hf.cli.main", "eval", "coser", *chosen, *options]


def run(*args: Any, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*args), cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, timeout=900
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def answered(log: Path) -> Counter[str]:
    """How often each request was answered."""
    lines = (line.split() for line in log.read_text().splitlines())
    return Counter(key for key, outcome in lines if outcome in ("ok", "hang"))


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def kill_when(log: Path, lines: int, *args: Any) -> bool:
    """Starts the run and kills it once the server has seen that number of requests; `False` if it was done before."""
    process = subprocess.Popen(command(*args), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if len(log.read_text().splitlines()) >= lines:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    return False


def prove(tmp_path: Path, scenes: Path, rounds: str, *, latency: float, kills: list[float]) -> dict[str, Any]:
    """The same results one call at a time, 64 at a time, and after kills; nothing lost, nothing repeated."""
    with scripted(tmp_path / "one", latency=latency, faults=True) as (url, log):
        run(url, tmp_path / "out1", scenes, "--rounds", rounds, "--concurrency", "1")
        single = answered(log)
    assert max(single.values()) == 1  # no request that was answered was made again
    first = files_of(tmp_path / "out1")
    with scripted(tmp_path / "many", latency=latency, faults=True) as (url, log):
        run(url, tmp_path / "out64", scenes, "--rounds", rounds, "--concurrency", "64")
        assert answered(log) == single
    assert files_of(tmp_path / "out64") == first
    with scripted(tmp_path / "killed", latency=latency, faults=True) as (url, log):
        options = (url, tmp_path / "killed_out", scenes, "--rounds", rounds, "--concurrency", "16")
        for share in kills:  # of the requests that the whole run makes
            assert kill_when(log, int(share * single.total()), *options)
        run(*options)
        found = answered(log)
    assert files_of(tmp_path / "killed_out") == first
    assert found.keys() == single.keys()
    # What was on its way, or not committed yet, when a kill came may have been answered without anybody hearing it.
    assert sum(found.values()) - len(found) <= 2 * 16 * len(kills)
    judged = results(tmp_path / "out1")
    assert judged["counts"]["ended_by"].get("failed", 0) == 0
    assert judged["missing"]["missing"] == sum(judged["missing"]["by_cause"].values())
    assert judged["counts"]["next_speaker_drawn"] > 0 and judged["counts"]["judged"]["repaired"] > 0
    before = log.stat().st_size
    with scripted(tmp_path / "killed", faults=True) as (url, log):
        run(url, tmp_path / "killed_out", scenes, "--rounds", rounds)  # another port, and nothing left to do
    assert log.stat().st_size == before
    return judged


def test_a_run_with_faults_and_kills_gives_what_a_quiet_one_gives(tmp_path: Path) -> None:
    judged = prove(tmp_path, mini_scenes(tmp_path, 6), "6", latency=0.01, kills=[0.4])
    assert judged["counts"]["scenes"] == 6 and judged["missing"]["expected"] == 4 * 6


@pytest.mark.full
def test_a_hundred_scenes_with_faults_and_three_kills(tmp_path: Path) -> None:
    if not SCENES.exists():
        pytest.skip("../shared is not there")
    judged = prove(tmp_path, SCENES, "10", latency=0.02, kills=[0.2, 0.5, 0.9])
    assert judged["counts"]["scenes"] == 100 and judged["missing"]["expected"] == 4 * 100


@pytest.mark.slow
def test_an_evaluation_keeps_a_server_busy() -> None:
    """A loose guard against needless waiting; `recipes/benchmarks/coser_speed.py` measures, on a quiet machine."""
    scenes = load_scenes(ROOT / "dataset_cards" / "her-mini", split="train")
    found = measure(scenes, rounds=12, latency=0.05, slots=16)["playing"]
    assert found["calls"] > 38 * 12 and 1 <= found["ratio_to_bound"] < 2.5


def test_play_now_and_judge_later(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 2), tmp_path / "out"
    with scripted(tmp_path / "server") as (url, log):
        run(url, out, scenes, "--rounds", "4", "--simulate-only")
        assert results(out)["figures"]["scores"] is None and not (out / "judgements.jsonl").exists()
        played = log.read_text()
        run(url, out, scenes, "--rounds", "4", "--judge-only", "--judge-samples", "2")
        assert len(log.read_text().splitlines()) - len(played.splitlines()) == 2 * 4 * 2
    found = results(out)
    assert (
        set(found["figures"]["scores"]) == {"SC", "AN", "CF", "SQ", "avg"}
        and found["figures"]["agreement"] is not None
    )
    assert found["settings"]["rounds"] == 4 and found["settings"]["judge_samples"] == 2
    row = json.loads((out / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert {"key", "turns", "settings"} <= row.keys() and {"name", "text"} <= row["turns"][0].keys()


def test_a_scene_that_reads_otherwise_is_judged_anew_or_refused(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 2), tmp_path / "out"
    with scripted(tmp_path / "server") as (url, log):
        refused = run(url, out, scenes, "--rounds", "3", "--judge-only", check=False)
        assert refused.returncode == 1 and "has no dialogue" in refused.stderr and not (out / "judging.json").exists()
        run(url, out, scenes, "--rounds", "3")
        run(url, out, scenes, "--rounds", "3", "--limit", "1")  # a smaller run loses nothing of the larger one
        seen = len(log.read_text().splitlines())
        run(url, out, scenes, "--rounds", "3", "--judge-only")
        assert len(log.read_text().splitlines()) == seen
        rows = json.loads(scenes.read_text(encoding="utf-8"))
        rows[0]["scenario"] += " It rains."
        scenes.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        refused = run(url, out, scenes, "--rounds", "3", "--judge-only", check=False)
        assert refused.returncode == 1 and "another version of the scene" in refused.stderr
        run(url, out, scenes, "--rounds", "3")
        assert len(log.read_text().splitlines()) == seen + 5 + 4  # one scene: three turns, two next speakers, judged


def test_a_refused_key_is_said_and_ends_the_run_which_goes_on_with_another(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 3), tmp_path / "out"
    errors = [(401, '{"error": {"message": "no such key"}}')] * 999
    with serving(errors=errors, models=[{"id": "m"}]) as server:
        refused = run(server.url, out, scenes, "--rounds", "2", check=False)
        assert refused.returncode == 1
        assert "answered 401: no such key. Set HER_HF_API_KEY" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert len(server.chats) <= 3  # one a scene, and no retries
        errors.clear()
        run(server.url, out, scenes, "--rounds", "2", "--limit", "1")
    assert results(out)["counts"]["ended_by"].get("failed", 0) == 0


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 1), tmp_path / "out"
    with scripted(tmp_path / "server") as (url, _):
        run(url, out, scenes, "--rounds", "2")
        before = files_of(out)
        refused = run(url, out, scenes, "--rounds", "3", check=False)
        assert refused.returncode == 1 and "rounds: 2 there, 3 now" in refused.stderr
        refused = run(url, out, scenes, "--rounds", "2", "--judge-thoughts", "her", check=False)
        assert refused.returncode == 1 and "judge_thoughts" in refused.stderr
    assert files_of(out) == before


def test_a_judge_that_is_not_there_and_one_that_is_missing_too_often(tmp_path: Path) -> None:
    scenes = mini_scenes(tmp_path, 1)
    with scripted(tmp_path / "server") as (url, _):
        nobody = run(url, tmp_path / "a", scenes, "--rounds", "2", "--judge", "http://127.0.0.1:9/v1", check=False)
        assert nobody.returncode == 1 and "No server answers at http://127.0.0.1:9/v1" in nobody.stderr
        assert "Traceback" not in nobody.stderr
    scene = Scene.model_validate(load_scenes(scenes)[0])
    assert scene.key
    with scripted(tmp_path / "prose", prose=True) as (url, _):
        missing = run(url, tmp_path / "b", scenes, "--rounds", "2", "--max-missing", "0.1", check=False)
        assert missing.returncode == 3 and "100.0% of the judgements are missing" in missing.stderr
    found = results(tmp_path / "b")
    assert found["figures"]["scores"] == {"SC": None, "AN": None, "CF": None, "SQ": None, "avg": None}
    assert found["missing"]["by_cause"] == {"no_json": 4}


def test_options_can_stand_in_yaml_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 1), tmp_path / "out"
    config = tmp_path / "eval.yaml"
    with scripted(tmp_path / "server") as (url, _):
        config.write_text(
            f"rounds: 2\njudge_thoughts: her\nactor: {url}\njudge: [{url}]\nscenes: {scenes}\nout: {out}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "her_hf.cli.main", "eval", "coser", "--config", str(config), "--rounds", "3"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert results(out)["settings"]["rounds"] == 3 and results(out)["settings"]["judge_thoughts"] == "her"
    config.write_text("rouns: 2\n")
    done = subprocess.run(
        [sys.executable, "-m", "her_hf.cli.main", "eval", "coser", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "rouns" in done.stderr


def test_a_scene_is_judged_while_others_are_still_played(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(messages: Messages, sampling: Sampling) -> str:
        asked.append("judging" if "You are a critic" in messages[0]["content"] else "playing")
        return '{"Nothing": 1}' if asked[-1] == "judging" else "A word."

    one = caller(answer)
    scenes = load_scenes(mini_scenes(tmp_path, 3))
    settings, judging = CoserSettings("plain", rounds=2), Judging(attempts=1)
    troupe = Troupe(one, one, one)
    run_coser_now(CoserRun(scenes, tmp_path / "out", settings, judging, troupe, [one], window=1, show=False))
    assert asked == ["playing", "playing", "playing", *["judging"] * 4] * 3  # two turns and who takes the second


@pytest.mark.parametrize(("name", "needs"), [("dialogues", "scene_digest"), ("judgements", "judged")])
def test_lines_of_an_older_shape_or_another_run_are_refused(tmp_path: Path, name: str, needs: str) -> None:
    scenes, one = load_scenes(mini_scenes(tmp_path, 2)), caller(lambda *_: '{"Nothing": 1}')

    def start() -> None:
        settings, troupe = CoserSettings("plain", rounds=2), Troupe(one, one, one)
        run_coser_now(CoserRun(scenes, tmp_path / "out", settings, Judging(), troupe, [one], show=False))

    start()
    check_refusals(tmp_path / "out" / f"{name}.jsonl", start, needs=needs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": "x"}, "turns: Input should be a valid"),
        ({"turns": [{"name": "Ann"}]}, r"turns\.0\.text: Field required"),
        ({"turns": [{"name": "Ann", "text": "Tea?", "attempts": "2"}]}, r"turns\.0\.attempts"),
        ({"settings": "her"}, "settings: Input should be"),
        ({"named": "all"}, "named: Input should be"),
    ],
)
def test_dialogues_of_another_shape_are_neither_judged_nor_shown(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    scenes, one, out = load_scenes(mini_scenes(tmp_path, 2)), caller(lambda *_: '{"Nothing": 1}'), tmp_path / "out"
    settings, troupe = CoserSettings("plain", rounds=2), Troupe(one, one, one)
    found = run_coser_now(CoserRun(scenes, out, settings, Judging(), troupe, [one], show=False))
    first, second = (out / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    changed = json.dumps({**json.loads(second), **change}, ensure_ascii=False)
    (out / "dialogues.jsonl").write_text(f"{first}\n{changed}\n", encoding="utf-8")
    for use in (
        lambda: run_coser_now(CoserRun(scenes, out, settings, Judging(), None, [one], show=False)),
        lambda: write_coser_report(found, out),
        lambda: read_dialogues(out / "dialogues.jsonl"),
    ):
        with pytest.raises(ValueError, match=rf"dialogues\.jsonl, line 2: must be .*{said}"):
            use()


def test_a_key_that_is_refused_ends_the_run_and_counts_nothing_as_missing(tmp_path: Path) -> None:
    scenes = mini_scenes(tmp_path, 2)
    for after, file in ((0, "dialogues.jsonl"), (14, "judgements.jsonl")):
        out = tmp_path / f"out{after}"
        with scripted(tmp_path / "server", broken_after=after, broken_status=401) as (url, _):
            refused = run(url, out, scenes, "--rounds", "4", "--actor-name", "x", "--concurrency", "1", check=False)
        assert refused.returncode == 1 and not (out / "results.json").exists()
        (said,) = [line for line in refused.stderr.splitlines() if "Error" in line]
        assert "401" in said and not re.search("Traceback|Warning", refused.stderr)
        assert not (out / file).exists() or '"request"' not in (out / file).read_text(encoding="utf-8")
        assert '"failed"' not in ((out / "dialogues.jsonl").read_text() if after else "")


def test_files_name_no_address_and_another_port_is_the_same_run(tmp_path: Path) -> None:
    scenes = mini_scenes(tmp_path, 2)
    for name, after in (("played", 5), ("judged", 15)):
        outs = [tmp_path / f"{name}{at}" for at in (1, 2)]
        for out in outs:
            with scripted(tmp_path / "server", broken_after=after) as (url, _):
                run(url, out, scenes, "--rounds", "4", "--concurrency", "1", check=False)
            for file in (*FILES, "report.md", "run.json", "judging.json", "sessions.jsonl"):
                assert re.search(r"127\.0\.0\.1|http", (out / file).read_text(encoding="utf-8")) is None, file
        assert "[address]" in (outs[0] / "report.md").read_text().replace("\\", "") or name == "judged"
        assert files_of(outs[0]) == files_of(outs[1])  # two servers, each at a port of its own


@pytest.mark.parametrize("lost", ["player", "judge"])
def test_a_server_that_no_longer_listens_leaves_no_address_in_files(lost: str, tmp_path: Path) -> None:
    scenes = load_scenes(mini_scenes(tmp_path, 1))

    async def known(url: str) -> Caller:
        """A caller that was answered once, and has no connection open."""
        gone = Caller(open_model(url), retries=Retries(max_retries=0), concurrency=1)
        await gone.fingerprint()
        await gone.close()
        return gone

    async def go_on(gone: Caller, out: Path) -> None:
        there = caller(lambda *_: "A word.")
        player, judge = (gone, there) if lost == "player" else (there, gone)
        run = CoserRun(
            scenes, out, CoserSettings("plain", rounds=3), Judging(), Troupe(player, player, player), [judge]
        )
        await run_coser(replace(run, show=False))
        await gone.close()

    async def both() -> list[str]:
        with serving() as one, serving() as other:
            urls = [one.url, other.url, one.url.replace("127.0.0.1", "localhost")]
            callers = [await known(url) for url in urls]
        for at, gone in enumerate(callers):
            await go_on(gone, tmp_path / str(at))
        return [url.rpartition(":")[2] for url in urls]

    ports = asyncio.run(both())
    assert ports[0] != ports[1]
    for at, port in enumerate(ports):
        found = {name: (tmp_path / str(at) / name).read_text(encoding="utf-8") for name in FILES}
        assert not any(
            re.search(rf"{port}|127\.0\.0\.1|localhost|::1|Errno|Connect call", text) for text in found.values()
        )
    assert files_of(tmp_path / "0") == files_of(tmp_path / "1")
    said = (tmp_path / "0" / ("dialogues.jsonl" if lost == "player" else "judgements.jsonl")).read_text("utf-8")
    assert "No server answers at [address] (connection refused)." in said
    if lost == "player":
        assert results(tmp_path / "0")["missing"]["failures"][0]["cause"] == "connection"


def test_speech_that_was_cut_is_a_turn_and_not_asked_for_again(tmp_path: Path) -> None:
    """A server that shows no prompts, and a model that speaks without thinking although it was asked to think."""
    said = "Hello, my friend, I was just about to"
    with serving(models=[{"id": "m"}], thinking="", body=said, finish="length") as server:
        actor, other = Caller(open_model(server.url)), caller(lambda *_: "A word.")
        run = CoserRun(
            load_scenes(mini_scenes(tmp_path, 1)),
            tmp_path / "out",
            CoserSettings("her", rounds=3),
            Judging(),
            Troupe(actor, other, other),
            [],
        )
        played = run_coser_now(replace(run, show=False))["counts"]
    row = json.loads((tmp_path / "out" / "dialogues.jsonl").read_text(encoding="utf-8"))
    spoken = [turn for turn in row["turns"] if turn["name"] != "Environment"]
    assert spoken and all(turn["text"] == said and not turn["ended"] for turn in spoken)
    assert played["repeated_calls"] == played["empty_turns"] == 0


def test_a_failure_carries_the_status(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 1), tmp_path / "out"
    with scripted(tmp_path / "server", broken_after=5, broken_status=400) as (url, _):
        run(url, out, scenes, "--rounds", "4", "--concurrency", "1", check=False)
    failed = results(out)["missing"]["failures"][0]
    assert failed["cause"] == "status" and "400" in failed["detail"]


@pytest.mark.parametrize(
    "named",
    [
        "http://gpu-7:8000/v1",
        "https://user:word@gpu.example.com/v1",
        "('::1', 38499, 0, 0)",
        "[2001:db8::7]:8000",
        "fe80::1%eth0",
        "10.0.0.7",
        "gpu-7:80",
        "node-07:443",
        "web:80",
        "gpu-7.cluster.internal",
        "port 8123",
        "host='gpu7'",
    ],
)
def test_addresses_are_known_in_what_servers_say(named: str) -> None:
    assert without_address(f"upstream {named}, refused ({named}).") == "upstream [address], refused ([address])."


@pytest.mark.parametrize(
    "said",
    ["code:400, line:12 at 12:30:45", "max_model_len:4096", "torch.cuda.OutOfMemoryError in v1.2.3", "std::vector"],
)
def test_what_is_no_address_stays(said: str) -> None:
    assert without_address(said) == said


def test_what_models_noted_is_in_the_report_and_outlives_a_kill(tmp_path: Path) -> None:
    scenes, out = load_scenes(mini_scenes(tmp_path, 2)), tmp_path / "out"
    calls: list[int] = []

    def answer(messages: Messages, _: Sampling) -> str:
        calls.append(1)
        if len(calls) == 5:
            raise MemoryError("killed")
        return "A word."

    def start(*notes: str) -> dict[str, Any]:
        one = caller(answer)
        model_of(one).notes.extend(notes)
        run = CoserRun(scenes, out, CoserSettings("plain", rounds=2), Judging(), Troupe(one, one, one), window=1)
        return run_coser_now(replace(run, show=False))

    with pytest.raises(MemoryError):
        start("http://127.0.0.1:8123/v1 does not take the field top_k: requests go without it.")
    (out / "sessions.jsonl").unlink()  # as a kill would have it
    found = start()
    assert "notes" not in found and "127.0.0.1" not in (out / "notes.json").read_text()
    assert "does not take the field top\\_k" in write_coser_report(found, out).read_text(encoding="utf-8")


def test_a_scene_that_failed_is_played_again(tmp_path: Path) -> None:
    scenes, out = mini_scenes(tmp_path, 2), tmp_path / "out"
    with scripted(tmp_path / "server", broken_after=5) as (url, _):
        run(url, out, scenes, "--rounds", "4", check=False)
    found = results(out)
    assert found["counts"]["ended_by"]["failed"] >= 1 and found["missing"]["by_cause"]["dialogue"] >= 4
    assert found["missing"]["failures"][0]["detail"]
    start = time.monotonic()
    with scripted(tmp_path / "server") as (url, _):
        run(url, out, scenes, "--rounds", "4")
    assert results(out)["counts"]["ended_by"] == {"rounds": 2} and time.monotonic() - start < 60
