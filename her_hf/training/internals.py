"""Private parts of transformers, TRL and torch that training overrides or reads: all of them, each with its reason.

Read in transformers 5.24.0, TRL 1.16.0 and torch 2.13.0. Other modules of `training` use the public names below and
override only public methods. tests/training/test_internals.py fails when a part changes that this file relies on, and
says what to check then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from trl import GRPOTrainer, SFTTrainer

# -- trainers


class StepWeightedTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's SFT trainer whose optimizer steps have a weight of their own, and whose counters can be restored."""

    # `compute_loss` divides by the weight of the whole step, so that Trainer must not divide by the number of batches.
    loss_is_scaled_for_ga = True

    def step_weight(self, batches: Sequence[Mapping[str, Tensor]], device: torch.device) -> Tensor:
        """What the losses of an optimizer step are divided by, over accumulation and ranks."""
        raise NotImplementedError

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """Trainer counts the trained tokens of a step here, and hands the number to `compute_loss`.

        No public setting exchanges the count: it is taken from `labels`, which know neither replies nor weights.
        """
        return self.step_weight(batch_samples, device)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Trains no step beyond the last.

        Trainer compares the step with the last one only after it has trained a step. A run that was killed between its
        last checkpoint and its results would therefore train one step too many when it resumes.
        """
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    @property
    def trained_tokens(self) -> int:
        """Tokens trained so far. TRL counts padding too, and starts at 0 when a run resumes."""
        return int(self._total_train_tokens)

    @trained_tokens.setter
    def trained_tokens(self, count: int) -> None:
        self._total_train_tokens = count

    def log_counts(self, **counts: int) -> None:
        """Adds counts to what is logged next for training; TRL has no public way to add to its metrics."""
        for name, count in counts.items():
            self._metrics["train"][name] = [count]


class AnswerHeadTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO trainer with a head that is fast on a CPU."""

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """On a CPU, applies the head to answers alone; the numbers are TRL's, up to rounding.

        TRL's own head skips the prompts only where there is Triton. Elsewhere it scores them too, which took half of
        the time of a step.
        """
        more = kwargs.get("compute_aux_loss") or kwargs.get("pixel_values") is not None
        if input_ids.device.type != "cpu" or self.args.cast_lm_head_to_fp32 or more:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[no-any-return]
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        with self.accelerator.autocast():
            found = model(input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep + 1, use_cache=False)
        log_probs = (found.logits[:, :-1].float() / self.temperature).log_softmax(-1)
        padding = attention_mask[:, -logits_to_keep:] == 0
        chosen = log_probs.gather(-1, input_ids[:, -logits_to_keep:, None]).squeeze(-1).masked_fill(padding, 0)
        if not kwargs.get("compute_entropy"):
            return chosen, None, None
        return chosen, -(log_probs.exp() * log_probs).sum(-1).masked_fill(padding, 0), None


def fused_log_probs(model: Any, arguments: Mapping[str, Any], labels: Tensor) -> Tensor:
    """Log probabilities of the labels from the chunked head that TRL's trainers put on their model.

    Args:
        model: A model that an `SFTTrainer` has prepared.
        arguments (`Mapping`): Arguments of its forward.
        labels (`Tensor`): Shape `(rows, tokens)`, -100 where nothing is trained.

    Returns:
        `Tensor`: Shape `(rows, tokens - 1)`, float32, of each next token; 0 where nothing is trained.
    """
    log_probs: Tensor = model(**arguments, labels=labels, fused_lm_head=True).log_probs
    return log_probs


# -- models


def compiled_block_mask(sees: Callable[..., Tensor], rows: int, tokens: int, device: torch.device) -> BlockMask:
    """A FlexAttention mask of shape `(rows, tokens, tokens)`, built by a compiled kernel on CUDA.

    Without compiling, torch builds the whole boolean mask first, whose memory is quadratic in the row.
    """
    return create_block_mask(sees, rows, None, tokens, tokens, device=device, _compile=device.type == "cuda")


def attention_of(config: PreTrainedConfig) -> str:
    """Name of the attention that a model uses, empty if none is chosen; its configuration has no public attribute."""
    return getattr(config, "_attn_implementation", None) or ""


def can_switch_attention(model: PreTrainedModel) -> bool:
    """Whether the layers look up their attention by name, so that an own one is really called."""
    return bool(getattr(type(model), "_can_set_attn_implementation", lambda: False)())


def is_recurrent(model: PreTrainedModel) -> bool:
    """Whether a model carries a state from token to token, past any mask; `generate` reads the same flag."""
    return bool(getattr(model, "_is_stateful", False))


def causal_lm_class(config: PreTrainedConfig) -> type[PreTrainedModel] | None:
    """The language model that `AutoModelForCausalLM` would load for a configuration, without loading it."""
    found: type[PreTrainedModel] | None = AutoModelForCausalLM._model_mapping.get(type(config), None)
    return found
