"""A reward model behind a real vLLM is read by probability as in this process: 50 pairs, both orders."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import SERVER_LOG
from tests.integration.tiny_checkpoint import write_tiny_base
from tests.integration.venvs import ROOT
from tests.integration.vllm_server import vllm_server
from tests.integration.vllm_venv import vllm_python, why_not_here

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())]

PAIRS = ROOT / "dataset_cards" / "her-mini-preferences"
COUNT = 50
TOLERANCE = 1e-4
"""How far margins (differences of log-probabilities) may lie apart: both compute in float32, in another order."""

TRAINED = {
    "dataset": PAIRS, "train_split": "train[:96]", "eval_split": "", "form": "compact", "direct_answers": True,
    "thinking_share": 0, "max_context": 2048, "replies_per_step": 8, "row_group_size": 2, "max_steps": 60,
    "learning_rate": 3e-3, "warmup_steps": 5, "weight_decay": 0.0, "per_reply": True, "dtype": "float32",
    "attn_implementation": "sdpa", "logging_steps": 20, "save_strategy": "no", "report_to": "none", "seed": 1,
    "use_cpu": True,
}  # fmt: skip
"""A small model learns the form of the answer and something of the verdicts in about a minute."""


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("likelihoods")
    write_tiny_base(folder / "base")
    options = {**TRAINED, "model_name_or_path": folder / "base", "output_dir": folder / "her-tiny-rm"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = called(sys.executable, "recipes/rm_sft.py", *words)
    assert done.returncode == 0, done.stdout[-4000:]
    return folder / "her-tiny-rm"


@pytest.fixture(scope="module")
def server(reward_model: Path) -> Iterator[str]:
    with vllm_server(vllm_python(), reward_model, SERVER_LOG, max_model_len=2048) as root:
        yield f"{root}/v1"


def called(*command: str) -> subprocess.CompletedProcess[str]:
    shown = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, cwd=ROOT, timeout=1200, **shown)


def her_hf(*words: str) -> str:
    done = called(sys.executable, "-m", "her_hf.cli.main", *words)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def verdicts(model: str, out: Path) -> list[dict[str, Any]]:
    """What `her-hf judge` reads from a model."""
    words = ["judge", "--model", model, "--pairs", str(PAIRS), "--limit", str(COUNT), "--read", "probability"]
    her_hf(*words, "--out", str(out))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def margins(rows: list[dict[str, Any]]) -> list[float]:
    """How far the first candidate is ahead, by pair and order."""
    found = [order["probabilities"] for row in rows for order in row["per_order"]]
    return [math.log(one["cand_1"]) - math.log(one["cand_2"]) for one in found]


def test_the_verdicts_are_those_of_a_model_in_process(reward_model: Path, server: str, tmp_path: Path) -> None:
    here, there = verdicts(str(reward_model), tmp_path / "here.jsonl"), verdicts(server, tmp_path / "there.jsonl")
    assert len(here) == len(there) == COUNT
    assert [row["missing"] for row in there] == [None] * COUNT
    assert [row["verdict"] for row in there] == [row["verdict"] for row in here]
    assert [[one["verdict"] for one in row["per_order"]] for row in there] == [
        [one["verdict"] for one in row["per_order"]] for row in here
    ]
    ours, theirs = margins(here), margins(there)
    assert len(ours) == 2 * COUNT and statistics.pstdev(ours) > 10 * TOLERANCE, "nothing that could differ"
    assert theirs == pytest.approx(ours, abs=TOLERANCE)


def test_next_tokens_give_the_same_differences(
    reward_model: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of servers without prompt log-probabilities, on the same server."""
    from her_hf.inference.local import LocalModel
    from her_hf.inference.openai import ServerModel
    from her_hf.judging import Pair, read_pairs
    from her_hf.judging.pairwise.prompts import compact_messages

    async def no_tokens(*_: Any) -> None:
        return None

    monkeypatch.setattr(ServerModel, "prompt_ids", no_tokens)
    answers = [f'{{"verdict": "{verdict}"}}' for verdict in ("cand_1", "cand_2", "tie")]
    asked = [compact_messages(pair, reasoning=False) for pair in read_pairs(str(PAIRS))[:8] if isinstance(pair, Pair)]
    local = LocalModel.load(str(reward_model), attach=False)

    async def read() -> None:
        model = ServerModel(server)
        for messages in asked:
            here, there = await local.likelihoods(messages, answers), await model.likelihoods(messages, answers)
            differences = [[value - values[0] for value in values] for values in (here, there)]
            assert differences[1] == pytest.approx(differences[0], abs=TOLERANCE)
        await model.close()

    asyncio.run(read())


def test_a_model_at_a_url_is_asked_as_its_checkpoint_says(reward_model: Path, server: str, tmp_path: Path) -> None:
    words = ["eval", "reward", "--model", server, "--checkpoint", str(reward_model), "--pairs", str(PAIRS)]
    her_hf(*words, "--limit", "2", "--attempts", "1", "--max-missing", "1", "--out", str(tmp_path / "reward"))
    settings = json.loads((tmp_path / "reward" / "results.json").read_text(encoding="utf-8"))["settings"]
    said = json.loads((reward_model / "reward_model.json").read_text(encoding="utf-8"))
    assert (settings["form"], settings["reasoning"]) == (said["form"], said["reasoning"]) == ("compact", False)
