"""The trainer: gradients of a whole step, and rows that reach the model as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED
from her_hf.training.one_pass.loss import total_weight
from her_hf.training.one_pass.trainer import OnePassTrainer
from her_hf.training.reward_model.rows import PARTS, PairReport, reward_rows
from her_hf.training.reward_model.sft import run_rm_sft
from tests.support.gradients import gradients, reference, trainer_config, worst
from tests.support.one_pass import conversation, conversations, tiny_model, tiny_tokenizer
from tests.support.pairs import a_pair
from tests.support.training import parsed, rm_sft_values


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


MODELS = ("llama", "qwen3")


class CatchGradients(TrainerCallback):
    """Keeps the gradients of the first optimizer step."""

    found: dict[str, torch.Tensor]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not hasattr(self, "found"):
            self.found = gradients(model)


TRAINER_CASES = [
    pytest.param({"loss_head": "plain"}, 1e-8, id="plain"),
    pytest.param({"loss_head": "fused"}, 1e-6, id="fused"),
    pytest.param({"loss_head": "plain", "gradient_accumulation_steps": 2}, 1e-8, id="accumulation"),
    pytest.param({"loss_head": "fused", "gradient_accumulation_steps": 3, "pack_rows": True}, 1e-6, id="packed"),
    pytest.param({"loss_head": "plain", "gradient_accumulation_steps": 4, "pack_rows": True}, 1e-8, id="empty batch"),
    pytest.param({"loss_head": "plain", "per_reply": True, "gradient_accumulation_steps": 2}, 1e-8, id="per reply"),
    pytest.param({"loss_head": "plain", "one_pass": False, "gradient_accumulation_steps": 2}, 1e-8, id="ordinary"),
    pytest.param({"loss_head": "fused", "gradient_checkpointing": True}, 1e-6, id="checkpointing"),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("settings", "bound"), TRAINER_CASES)
def test_trainer_equals_per_reply(
    tokenizer: Any, tmp_path: Any, kind: str, settings: dict[str, Any], bound: float
) -> None:
    scenes = conversations()
    one = settings.get("one_pass", True)
    rows = [row for messages in scenes for row in build(messages, tokenizer, one_pass=one)]
    model = tiny_model(kind, len(tokenizer))
    wanted_loss, wanted = reference(model, tokenizer, scenes, per_reply=settings.get("per_reply", False))
    catch = CatchGradients()
    trainer = OnePassTrainer(
        model,
        trainer_config(tmp_path, max_steps=1, replies_per_step=9, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[catch],
    )
    trainer.train()
    assert worst(catch.found, wanted) < bound
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert logged["loss"] == pytest.approx(wanted_loss, rel=1e-4)
    assert logged["num_tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert logged["num_replies"] == 9


def test_trl_changes_no_row(tokenizer: Any, tmp_path: Any) -> None:
    """Rows far beyond TRL's own limits reach the model whole, in every epoch, whatever the split into steps."""
    rows = [row for count in (40, 7, 3) for row in build(conversation(count), tokenizer)]
    assert max(len(row["input_ids"]) for row in rows) > 4096
    model = tiny_model("llama", len(tokenizer), dtype=torch.float32, max_position_embeddings=16384)
    seen: list[dict[str, torch.Tensor]] = []

    class Spy(OnePassTrainer):
        def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:
            seen.append(inputs)
            return (model.lm_head.weight * 0).sum()

    trainer = Spy(
        model,
        trainer_config(tmp_path, num_train_epochs=2, replies_per_step=8),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    trained = sum(int((inputs["labels"] != IGNORED).sum()) for inputs in seen)
    assert trained == 2 * sum(label != IGNORED for row in rows for label in row["labels"])
    replies = [int(total_weight(inputs, per_reply=True)) for inputs in seen]
    assert replies == [8] * 6 + [2] + [8] * 6 + [2]
    assert len(trainer.train_dataset) == len(rows)


def test_weights_reach_the_model(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    """Through shuffling, splitting, packing and padding."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows([a_pair(n) for n in range(3)], tokenizer, PairReport(), form="compact", decision_share=0.6)
    for packed in (False, True):
        values = rm_sft_values(base, pairs_file, tmp_path / f"{packed}", replies_per_step=3, pack_rows=packed)
        _, _, args = parsed(run_rm_sft, values)
        model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa")
        trainer = OnePassTrainer(model, args, train_dataset=rows, processing_class=tokenizer, layers=PARTS)
        sums = [batch["weights"].sum().item() for batch in trainer.get_train_dataloader()]
        assert sums == pytest.approx([3, 3, 3, 3])
