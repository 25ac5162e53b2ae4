"""Memory of `her-hf judge` and of evaluations: a window of large units, whatever their number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from her_hf.cli import judge as command
from her_hf.cli.main import app
from her_hf.evaluation.minimax.run import MinimaxRun, run_minimax_now
from her_hf.evaluation.reward.run import RewardRun, run_reward_now
from her_hf.inference import Caller, Ledger, Messages, Reply, Usage
from her_hf.judging import PairFile, PairJudging, PairwiseJudge
from her_hf.judging.critics.minimax import ChunkJudging
from her_hf.simulation.minimax import MinimaxSettings
from tests.support.memory import peak_of
from tests.support.minimax import ANN, LIN
from tests.support.pairs import a_pair

SIZE = 8_000
"""Characters of an answer; what counts for the results is a few hundred."""


class Wordy:
    """A model that answers at length, and remembers nothing of it."""

    def __init__(self, name: str, answer: Callable[[], str]) -> None:
        self.name, self._answer = name, answer
        self.notes: list[str] = []

    async def fingerprint(self) -> dict[str, Any]:
        return {"model": self.name}

    async def window(self) -> int | None:
        return None

    async def chat(self, messages: Messages, **_: Any) -> Reply:
        text = self._answer()
        return Reply(text, "stop", True, Usage(3, 4), text, None, self.name)

    async def close(self) -> None:
        """There is no connection."""


def caller(name: str, answer: Callable[[], str], ledger: Ledger) -> Caller:
    return Caller(Wordy(name, answer), ledger=ledger)  # type: ignore[arg-type]


def verdict() -> str:
    return f"<think>{'e' * SIZE}</think>\n{json.dumps({'principles': {'A': 'cand_1'}, 'verdict': 'cand_1'})}"


def judging(ledger: Ledger) -> PairwiseJudge:
    return PairwiseJudge(caller("judge", verdict, ledger), PairJudging(form="compact", both_orders=False))


def pair_file(file: Path, count: int) -> Path:
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            pair = a_pair(number, cand_1=f"Jo: Gloves be hanged! {'g' * SIZE}")
            stream.write(json.dumps(pair.to_row()) + "\n")
    return file


def growth(work: Callable[[int], object], few: int) -> float:
    """By how much the peak grows with each further unit from `few` to four times as many, in bytes."""
    work(few // 4)  # what is imported and cached counts for neither
    return (peak_of(lambda: work(4 * few)) - peak_of(lambda: work(few))) / (3 * few)


def test_judging_pairs_of_a_file_takes_a_window_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "open_judge", lambda *given: judging(given[-1]))

    def work(count: int) -> None:
        out = tmp_path / f"{count}.verdicts.jsonl"
        words = ["judge", "--model", "judge", "--pairs", str(files[count]), "--out", str(out)]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0 and f"{count} pairs in" in done.stdout, done.output
        assert out.stat().st_size > count * SIZE

    files = {count: pair_file(tmp_path / f"{count}.jsonl", count) for count in (100, 400, 1600)}
    assert growth(work, 400) < 0.2 * SIZE


def test_evaluating_pairs_of_a_file_keeps_a_case_of_each(tmp_path: Path) -> None:
    def work(count: int) -> None:
        out = tmp_path / str(count)
        with Ledger(out / "ledger.sqlite") as ledger:
            run = RewardRun(PairFile(files[count]), out, judging(ledger), window=16, show=False)
            assert run_reward_now(run)["counts"]["pairs"] == count

    files = {count: pair_file(tmp_path / f"{count}.jsonl", count) for count in (25, 100, 400)}
    assert growth(work, 100) < 0.5 * SIZE


def test_evaluating_dialogues_keeps_no_transcript(tmp_path: Path) -> None:
    def work(runs: int) -> None:
        out = tmp_path / str(runs)
        with Ledger(out / "ledger.sqlite") as ledger:
            run = MinimaxRun(
                [ANN, LIN],
                out,
                MinimaxSettings("her", turns=2),
                caller("npc", lambda: f"<system_thinking>t</system_thinking>{'a' * SIZE}", ledger),
                caller("user", lambda: "u" * SIZE, ledger),
                caller("judge", lambda: '{"errors": []}', ledger),
                ChunkJudging(2),
                runs=runs,
                window=16,
                show=False,
            )
            assert run_minimax_now(run)["counts"]["judged"]["sessions"] == 2 * runs

    assert growth(work, 20) < 2 * 0.5 * SIZE  # of two dialogues, one with each seed
