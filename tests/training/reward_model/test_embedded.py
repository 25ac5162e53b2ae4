"""The reward model's recipe on the real embedded base: a few steps, then judged in process. No quality is claimed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from her_hf.judging import PairJudging, read_pairs
from her_hf.judging.pairwise.pairs import Pair
from her_hf.judging.pairwise.reward_model import HERRewardModel, trained_settings
from tests.support.paths import ROOT

DATA = ROOT / "dataset_cards" / "her-mini-preferences"


@pytest.mark.slow
def test_the_recipe_trains_the_real_base_and_its_checkpoint_judges(tmp_path: Path) -> None:
    out = tmp_path / "rm"
    words = f"--config {ROOT / 'recipes/smollm2-135m/rm_sft/config.yaml'} --dataset {DATA} --output_dir {out}"
    words += " --max_pairs 8 --max_eval_pairs 2 --max_steps 3 --replies_per_step 16"
    words += " --learning_rate 2e-4 --warmup_steps 0"
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "recipes" / "rm_sft.py"), *words.split()]
    process = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert len(losses) == 3 and losses[2] < losses[0]
    assert trained_settings(out).form == "compact"
    pair = next(pair for pair in read_pairs(DATA, split="test") if isinstance(pair, Pair))
    settings = PairJudging(form="compact", reasoning=False, read="probability")
    (found,) = HERRewardModel.from_pretrained(out, settings=settings).judge([pair])
    assert found.missing is None and found.verdict in ("cand_1", "cand_2", "tie")
    assert found.confidence is not None and 0 < found.confidence <= 1
