"""Tokens beyond the embeddings are refused by all that would use them, before anything is trained or generated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlavaConfig, PreTrainedConfig
from trl import ModelConfig, TrlParser

from her_hf.inference.local import LocalModel
from her_hf.processing import attach_model, check_embeddings
from her_hf.training import sft
from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.reward_model import rl as rm_rl
from her_hf.training.reward_model import sft as rm_sft
from her_hf.training.reward_model.config import RewardDataConfig, RewardRLDataConfig
from tests.support.one_pass import FIXTURES, tiny_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two embeddings fewer than its tokenizer has tokens."""
    folder = tmp_path_factory.mktemp("models") / "small"
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(folder)
    tiny_model("llama", len(tokenizer) - 2, dtype=torch.float32).save_pretrained(folder)
    return folder


WORDS = r"small: the model has embeddings for \d+ tokens.*'<\|im_start\|>' has id \d+.*resize_token_embeddings"


def parsed(configs: tuple[type, ...], **values: Any) -> Any:
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return TrlParser((configs[0], ModelConfig, configs[1])).parse_args_and_config(words)


def test_attach_refuses_it(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=WORDS):
        attach_model(small, tmp_path / "her")
    assert not (tmp_path / "her").exists()


@pytest.mark.parametrize("attach", [True, False])
def test_loading_refuses_it(small: Path, attach: bool) -> None:
    with pytest.raises(ValueError, match=WORDS):
        LocalModel.load(str(small), attach=attach)


@pytest.mark.parametrize(
    ("run", "configs"),
    [
        (sft.run_sft, (sft.SFTDataConfig, OnePassConfig)),
        (rm_sft.run_rm_sft, (RewardDataConfig, OnePassConfig)),
        (rm_rl.run_rm_rl, (RewardRLDataConfig, rm_rl.RewardRLConfig)),
    ],
)
def test_recipes_refuse_it_before_they_read_data(run: Any, configs: Any, small: Path, tmp_path: Path) -> None:
    settings = parsed(
        configs, model_name_or_path=small, dataset=tmp_path / "none", output_dir=tmp_path / "out", use_cpu=True
    )
    with pytest.raises(ValueError, match=WORDS):
        run(*settings)
    assert not (tmp_path / "out").exists()


def test_what_is_named() -> None:
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    number = len(tokenizer)
    check_embeddings(tokenizer, PreTrainedConfig(vocab_size=number), "x")
    check_embeddings(tokenizer, PreTrainedConfig(vocab_size=number + 64), "x")  # padded to a round number
    nested = LlavaConfig(text_config={"model_type": "llama", "vocab_size": 5})
    with pytest.raises(ValueError, match=rf"for 5 tokens.*ids 0 to 4.* and {number - 9} more"):
        check_embeddings(tokenizer, nested, "x")
    tokenizer.add_tokens(["<|" + "very long " * 20 + "|>"])
    with pytest.raises(ValueError, match=rf"has id {number} in the tokenizer.*\({number + 1}\)") as error:
        check_embeddings(tokenizer, PreTrainedConfig(vocab_size=number), "x")
    assert len(str(error.value)) < 400


def test_a_config_that_transformers_cannot_read_is_refused(small: Path, tmp_path: Path) -> None:
    base = shutil.copytree(small, tmp_path / "base")
    (base / "config.json").write_text('{"model_type": "brand_new", "auto_map": {"AutoConfig": "code.Config"}}')
    with pytest.raises(ValueError, match=r"config\.json of .*base cannot be read by transformers without remote code"):
        attach_model(base, tmp_path / "her")
