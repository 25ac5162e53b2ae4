"""The private parts of transformers, TRL and torch that training relies on are still what they were when read."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import trl
from torch.nn.attention import flex_attention
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel, T5Config, Trainer
from trl import GRPOTrainer, SFTTrainer

from her_hf.training import internals
from her_hf.training.internals import AnswerHeadTrainer
from her_hf.training.reward_model.rl import run_rm_rl
from tests.support.internals import Part, private_names, private_uses
from tests.support.one_pass import tiny_model
from tests.support.training import parsed, rm_rl_values

READ_IN = {"transformers": "5.24.0", "trl": "1.16.0", "torch": "2.13.0"}
"""The versions that the digests were taken from; the docstring of her_hf/training/internals.py names them too."""


PARTS = [
    Part(
        Trainer, "_run_epoch",
        "self model epoch train_dataloader steps_in_epoch num_update_steps_per_epoch trial ignore_keys_for_eval "
        "start_time resume_from_checkpoint epochs_trained steps_trained_in_current_epoch",
        "", "whether Trainer still trains a step before it looks for the last one, and stops on should_training_stop",
    ),
    Part(
        Trainer, "_get_num_items_in_batch", "self batch_samples device", "046644659e79",
        "whether it is still called once an optimizer step with all its micro-batches, and its result goes to "
        "compute_loss as num_items_in_batch",
    ),
    Part(
        Trainer, "get_batch_samples", "self epoch_iterator num_batches device", "ce1d3f8e633c",
        "whether _get_num_items_in_batch is still called once an optimizer step",
    ),
    Part(
        Trainer, "training_step", "self model inputs num_items_in_batch", "4af68cc5a846",
        "whether loss_is_scaled_for_ga still keeps the loss from being divided by the accumulation steps",
    ),
    Part(
        SFTTrainer, "compute_loss", "self model inputs return_outputs num_items_in_batch", "0344a4717465",
        "whether OnePassTrainer.compute_loss lacks something that TRL does there now (metrics, scaling over ranks)",
    ),
    Part(
        SFTTrainer, "prediction_step", "self model inputs prediction_loss_only ignore_keys", "e363af8a33d0",
        "whether it still asks compute_loss for no outputs when only the loss is needed",
    ),
    Part(
        SFTTrainer, "log", "self logs start_time", "501e2687f6b0",
        "whether entries of _metrics['train'] are still averaged into the logs and cleared",
    ),
    Part(
        GRPOTrainer, "_get_per_token_logps_and_entropies",
        "self model input_ids attention_mask logits_to_keep batch_size compute_entropy compute_aux_loss pixel_values "
        "image_grid_thw num_images pixel_attention_mask spatial_shapes num_tiles image_sizes token_type_ids "
        "mm_token_type_ids image_position_ids",
        "31bbe58ca8ba", "whether its numbers are ours (a test below compares them), and which arguments ask for more",
    ),
    Part(
        trl.trainer.utils, "add_fused_lm_head", "model temperature cast_lm_head_to_fp32 outputs", "27301e73e4ac",
        "whether log_probs still has one entry a next token, and which settings of a model scale its logits "
        "(_SCALED in her_hf/training/one_pass/loss.py names them too)",
    ),
    Part(
        PreTrainedModel, "_can_set_attn_implementation", "cls", "0f53ca71e9c3",
        "whether it still means that layers look up their attention by name",
    ),
    Part(
        Trainer, "evaluation_loop",
        "self dataloader description prediction_loss_only ignore_keys metric_key_prefix", "",
        "whether OnePassTrainer.evaluation_loop still finds metric_key_prefix among its keywords",
    ),
    Part(
        flex_attention, "create_block_mask", 
        "mask_mod B H Q_LEN KV_LEN device BLOCK_SIZE _compile separate_full_blocks compute_dq_write_order dq_kv_order",
        "", "how a mask is built by blocks now",
    ),
    Part(Trainer, "get_train_dataloader", "self", "", "whether OnePassTrainer still replaces it"),
    Part(Trainer, "get_eval_dataloader", "self eval_dataset", "", "whether OnePassTrainer still replaces it"),
    Part(
        SFTTrainer, "create_model_card", "self model_name dataset_name tags", "",
        "whether TRL writes its card elsewhere now, over ours",
    ),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_is_what_it_was(part: Part) -> None:
    part.verify(READ_IN, "her_hf/training/internals.py")


def test_the_versions_are_named_where_the_parts_are() -> None:
    for name, version in READ_IN.items():
        assert f"{name} {version}" in str(internals.__doc__).replace("TRL", "trl")


def test_attributes_are_where_they_are_read() -> None:
    """Those that no signature shows; a missing one would be read as a default or set in vain."""
    text = inspect.getsource(SFTTrainer.__init__)
    for line in ('self._metrics = {"train": defaultdict(list)', "self._total_train_tokens = 0", "aux_loss_enabled ="):
        assert line in text, f"SFTTrainer.__init__ no longer has {line!r}: check StepWeightedTrainer"
    assert Trainer.loss_is_scaled_for_ga is None and SFTTrainer.loss_is_scaled_for_ga is None
    assert "temperature" in inspect.getsource(GRPOTrainer.__init__)
    assert PreTrainedModel._is_stateful is False
    assert "_attn_implementation" in dir(transformers.PreTrainedConfig)


def test_what_models_say() -> None:
    model = tiny_model("llama", 64)
    assert internals.attention_of(model.config) == "sdpa" and internals.attention_of(LlamaConfig()) == ""
    assert internals.can_switch_attention(model) and not internals.is_recurrent(model)
    assert internals.causal_lm_class(model.config) is LlamaForCausalLM
    assert internals.causal_lm_class(T5Config()) is None
    assert type(AutoModelForCausalLM.from_config(model.config)) is LlamaForCausalLM


# -- nothing private is used anywhere else


def test_private_parts_are_used_in_one_file() -> None:
    found = private_uses("her_hf.training")
    assert len(found.pop(internals.__name__)) > 5
    assert found == {}, "put these into her_hf/training/internals.py, each with its reason, and a Part above"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("def use(model):\n    return model._is_stateful", ["_is_stateful"]),
        ("def use(model):\n    return getattr(model, '_x', None)", ["_x"]),
        ("def use(f):\n    return f(_x=1)", ["_x"]),
        ("class T(SFTTrainer):\n    def _save(self):\n        pass", ["_save"]),
        ("class T(SFTTrainer):\n    def f(self):\n        self._metrics = 1", ["_metrics"]),
        ("class T(SFTTrainer):\n    def f(self):\n        self._own = 1", []),
    ],
)
def test_the_search_finds_them(body: str, names: list[str]) -> None:
    source = f"from trl import SFTTrainer\n{body}\n"
    module: dict[str, Any] = {}
    exec(source, module)
    assert list(private_names(source, module)) == names


# -- numbers


def test_the_head_on_answers_alone_gives_the_numbers_of_trl(
    first_stage: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, compared, kept = AnswerHeadTrainer._get_per_token_logps_and_entropies, [], []
    forward = LlamaForCausalLM.forward

    def watched(self: LlamaForCausalLM, *args: Any, **how: Any) -> Any:
        kept.append(how.get("logits_to_keep"))
        return forward(self, *args, **how)

    monkeypatch.setattr(LlamaForCausalLM, "forward", functools.wraps(forward)(watched))

    def both(self: AnswerHeadTrainer, *args: Any, **how: Any) -> Any:
        found, wanted = own(self, *args, **how), GRPOTrainer._get_per_token_logps_and_entropies(self, *args, **how)
        for one, other in zip(found[:2], wanted[:2], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        compared.append(found[0].requires_grad and wanted[0].requires_grad)
        return found

    monkeypatch.setattr(AnswerHeadTrainer, "_get_per_token_logps_and_entropies", both)
    run_rm_rl(*parsed(run_rm_rl, rm_rl_values(first_stage, pairs_file, tmp_path, temperature=1.3)))
    assert compared == [True, True]
    assert len([one for one in kept if one and one > 1]) == 2  # its own way was taken
