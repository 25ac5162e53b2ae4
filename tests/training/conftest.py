"""A tiny base, scenes, labelled pairs, and finished runs; tests leave all of them as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from her_hf.training.reward_model.rl import run_rm_rl
from her_hf.training.reward_model.sft import run_rm_sft
from her_hf.training.sft import run_sft
from tests.support.pairs import a_pair
from tests.support.paths import FIXTURES
from tests.support.training import parsed, rm_rl_values, rm_sft_values, sft_values, write_tiny_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base without HER."""
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes in two splits."""
    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "validation"):
        shutil.copy(FIXTURES / "scenes" / "mini.jsonl", folder / f"{split}.jsonl")
    return folder


@pytest.fixture(scope="session")
def finished(base: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished SFT run of six steps, evaluated at steps 0, 3 and 6."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_sft(*parsed(run_sft, sft_values(base, scenes, out, eval_on_start=True, eval_strategy="steps", eval_steps=3)))
    return out


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled pairs, one without a label, and a row that is not a pair."""
    rows = [a_pair(number).to_row() for number in range(6)] + [a_pair(9, label=None).to_row(), {"prompt": []}]
    file = tmp_path_factory.mktemp("pairs") / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="session")
def first_stage(base: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished first stage of six steps."""
    out = tmp_path_factory.mktemp("runs") / "rm-sft"
    run_rm_sft(*parsed(run_rm_sft, rm_sft_values(base, pairs_file, out)))
    return out


@pytest.fixture(scope="session")
def second_stage(first_stage: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished second stage of two steps."""
    out = tmp_path_factory.mktemp("runs") / "rm-rl"
    run_rm_rl(*parsed(run_rm_rl, rm_rl_values(first_stage, pairs_file, out)))
    return out
