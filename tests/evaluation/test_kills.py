"""Every user of the run of units is killed twice by the system, and goes on to the files of a run that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from her_hf.data.preferences.builder import PairRun, PairSettings, build_pairs_now
from her_hf.data.preferences.candidates import Policy, PolicySettings
from her_hf.durable import digest, whole_lines
from her_hf.evaluation.form.run import FormRun, FormSettings, run_form_now
from her_hf.evaluation.minimax.run import MinimaxRun, run_minimax_now
from her_hf.evaluation.reward.run import RewardRun, judge_file_now, run_reward_now
from her_hf.inference import Caller, Ledger, Messages, Sampling
from her_hf.judging import PairFile, PairJudging, PairwiseJudge
from her_hf.judging.critics.minimax import ChunkJudging
from her_hf.scenes import load_scenes
from her_hf.simulation.minimax import MinimaxSettings
from tests.support.minimax import ANN, LIN, Rule, caller, her_npc, plain_user, planted
from tests.support.pairs import a_pair, compact, first_shown
from tests.support.paths import ROOT

MINI = ROOT / "dataset_cards" / "her-mini"
CONCURRENCY = 8
"""Of `caller`: the calls that may be on their way when a kill comes."""

Asking = Callable[[Rule, str], Caller]


def reply(_: Messages, sampling: Sampling) -> str:
    return f"Answer {sampling.seed}{' and more' * (int(sampling.seed or 0) % 7)}."


def verdict(messages: Messages, _: Sampling) -> str:
    side = first_shown("\n".join(str(message["content"]) for message in messages))
    return compact(side, A=side, B=side, C="tie")


def prefers(messages: Messages, _: Sampling) -> str:
    side = ("cand_1", "cand_2")[int(digest(list(messages))[0], 16) % 2]
    return compact(side, A=side, B="cand_1", C="cand_2")


def form(out: Path, asking: Asking) -> None:
    settings = FormSettings("her", max_replies=24)
    run_form_now(FormRun(load_scenes(MINI, "test"), out, asking(her_npc, "model"), settings, show=False))


def minimax(out: Path, asking: Asking) -> None:
    playing = (MinimaxSettings("her", turns=4), asking(her_npc, "npc"), asking(plain_user, "user"))
    judge = asking(planted, "judge")
    run_minimax_now(MinimaxRun([ANN, LIN], out, *playing, judge, ChunkJudging(2), runs=3, show=False))


def pairs_and_judge(out: Path, asking: Asking) -> tuple[PairFile, PairwiseJudge]:
    out.mkdir(exist_ok=True)
    rows = (json.dumps(a_pair(number).to_row()) for number in range(16))
    (out.parent / "pairs.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return PairFile(out.parent / "pairs.jsonl"), PairwiseJudge(asking(verdict, "judge"), PairJudging(form="compact"))


def reward(out: Path, asking: Asking) -> None:
    pairs, judge = pairs_and_judge(out, asking)
    run_reward_now(RewardRun(pairs, out, judge, show=False))


def judge(out: Path, asking: Asking) -> None:
    pairs, judge = pairs_and_judge(out, asking)
    judge_file_now(judge, pairs, out / "verdicts.jsonl", show=False)


def pairs(out: Path, asking: Asking) -> None:
    policy = Policy(asking(reply, "policy"), PolicySettings("plain", candidates=4))
    teacher = PairwiseJudge(asking(prefers, "teacher"), PairJudging(principles="fixed", attempts=1))
    build_pairs_now(PairRun(load_scenes(MINI, "test"), out, policy, teacher, PairSettings(max_replies=8), show=False))


USERS = {
    form: ("replies.jsonl", "results.json"),
    minimax: ("dialogues.jsonl", "judgements.jsonl", "results.json"),
    reward: ("judged.jsonl", "results.json"),
    judge: ("verdicts.jsonl",),
    pairs: ("candidates.jsonl", "pairs.jsonl", "judgements.jsonl", "report.json", "sets/rm_sft.jsonl"),
}


def start(name: str, out: Path, log: Path, until: int) -> None:
    """Starts a user, whose models kill the process at this number of calls; the calls are in the log."""
    log.touch()
    left = until - len(whole_lines(log))

    def mortal(rule: Rule, model: str) -> Rule:
        def answer(messages: Messages, sampling: Sampling) -> str:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            with log.open("a", encoding="utf-8") as stream:
                stream.write(digest([model, list(messages), sampling.seed]) + "\n")
            return rule(messages, sampling)

        return answer

    user = next(user for user in USERS if user.__name__ == name)
    with Ledger(out / "ledger.sqlite") as ledger:
        user(out, lambda rule, model: caller(mortal(rule, model), ledger=ledger, name=model))


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__name__)
def test_a_killed_run_goes_on_and_leaves_the_same_files(user: Callable[..., None], tmp_path: Path) -> None:
    name, logs = user.__name__, [tmp_path / "whole.log", tmp_path / "killed.log"]
    start(name, tmp_path / "whole", logs[0], 10**6)
    total = len(whole_lines(logs[0]))
    for share in (0.3, 0.9):  # of the calls; dialogues that go on side by side all end late
        program = f"import sys; from {__name__} import start, Path; start({name!r}, *map(Path, sys.argv[1:3]), {{}})"
        words = [sys.executable, "-c", program.format(int(share * total)), str(tmp_path / "killed"), str(logs[1])]
        assert subprocess.run(words, cwd=ROOT, timeout=180).returncode == -signal.SIGKILL
    assert whole_lines(tmp_path / "killed" / USERS[user][0])  # some units were finished before
    start(name, tmp_path / "killed", logs[1], 10**6)
    for file in USERS[user]:
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    asked = whole_lines(logs[1])
    assert set(asked) == set(whole_lines(logs[0]))
    assert len(asked) - len(set(asked)) <= 2 * 2 * CONCURRENCY  # what two kills met on its way, of two models
