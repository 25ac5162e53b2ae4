"""TRL's SFTTrainer on one-pass rows: own data loader, own loss, held-out loss by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from her_hf.processing.trunk import IGNORED

from ..internals import StepWeightedTrainer
from ..run.freezing import freeze
from .attention import check_model
from .batches import EvalBatches, MicroBatches
from .branches import use_branches
from .collator import OnePassCollator
from .config import OnePassConfig
from .layers import LAYERS, label_layers
from .loss import loss_weights, token_losses, total_weight


class OnePassTrainer(StepWeightedTrainer):
    """Trains rows of [`~her_hf.processing.trunk.build_row`].

    Args:
        model (`PreTrainedModel`): A causal language model with sdpa or FlexAttention.
        args ([`OnePassConfig`]): Settings; the batch size is `replies_per_step`.
        train_dataset (`Dataset`): Rows, see [`~her_hf.training.one_pass.dataset.rows_dataset`].
        processing_class (`PreTrainedTokenizerBase`): The tokenizer the rows were built with.
        eval_dataset (`Dataset`, *optional*): Held-out rows.
        callbacks (`list[TrainerCallback]`, *optional*): Further callbacks.
        layers (`Sequence[str]`, *optional*): Names of the parts by which the held-out loss is reported; those of a
            reply by default. Rows of other parts bring their own column `layers`, with indices into these.
        **kwargs: Passed to `SFTTrainer`, e.g. `peft_config`.

    Raises:
        `ValueError`: If the model would be silently wrong on such rows (see
            [`~her_hf.training.one_pass.attention.check_model`]), or the mask cannot be kept under the parallelism
            asked for.

    Example (not run: it needs a model):

    ```python
    >>> trainer = OnePassTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    >>> trainer.train()
    ```
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: OnePassConfig,
        *,
        train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: Dataset | None = None,
        callbacks: list[TrainerCallback] | None = None,
        layers: Sequence[str] = LAYERS,
        **kwargs: Any,
    ) -> None:
        if args.one_pass or args.pack_rows:  # else no mask of ours is used, and the model's own attention is right
            check_model(model)
        if processing_class.pad_token_id is None:
            processing_class.pad_token = processing_class.eos_token
        if eval_dataset is not None and "layers" not in eval_dataset.column_names:
            labels = [label_layers(row, processing_class) for row in eval_dataset]
            eval_dataset = eval_dataset.add_column("layers", labels)
        if args.train_last_layers is not None and kwargs.get("peft_config") is not None:
            raise ValueError("train_last_layers does not go with LoRA: leave one of the two out")
        freeze(model, embeddings=args.freeze_embeddings, last_layers=args.train_last_layers)
        implementation = use_branches(model)
        super().__init__(
            model=model,
            args=args,
            data_collator=OnePassCollator(
                pad_token_id=processing_class.pad_token_id,
                pack=args.pack_rows,
                # FlexAttention compiles a kernel for each shape: multiples of 128 keep them few.
                pad_to_multiple_of=128 if implementation == "flex_attention" else args.pad_to_multiple_of,
            ),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            **kwargs,
        )
        self._refuse_parallelism()
        self._implementation = implementation
        self._fused = args.loss_head == "fused" or (
            args.loss_head == "auto" and self.accelerator.device.type == "cuda"
        )
        self._bins = args.world_size * args.gradient_accumulation_steps
        self._trained_replies = 0
        self._layer_sums = torch.zeros(2, len(layers), dtype=torch.float64)
        self._layers = tuple(layers)

    def _refuse_parallelism(self) -> None:
        """Refuses what would drop the mask or leave part of the loss out."""
        parallel = self.accelerator.parallelism_config
        if parallel is not None and (parallel.cp_enabled or parallel.sp_enabled):
            raise ValueError(
                "one-pass rows need their mask, which context and sequence parallelism drop: use FSDP, DeepSpeed ZeRO "
                "or tensor parallelism, or a smaller row_tokens"
            )
        if self.aux_loss_enabled:
            raise ValueError(
                "the load-balancing loss of this mixture-of-experts model cannot be computed from one-pass rows: set "
                "router_aux_loss_coef: 0.0"
            )

    # -- data

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One item a micro-batch; each step holds `replies_per_step` replies."""
        args = self.args
        batches = MicroBatches(
            self.train_dataset,
            args.replies_per_step,
            self._bins,
            args.seed if args.data_seed is None else args.data_seed,
            group_size=args.row_group_size,
            # Ranks wait for each other, so they need even batches; packed rows need no padding.
            by_length=args.world_size == 1 and not args.pack_rows,
        )
        return self._loader(batches)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader[Any]:
        """Held-out rows in order; no row is repeated to fill up a rank."""
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        if not isinstance(rows, Dataset):
            raise ValueError(f"evaluation needs one dataset of rows, got {type(rows).__name__}: pass eval_dataset")
        if "layers" not in rows.column_names:
            rows = rows.add_column("layers", [label_layers(row, self.processing_class) for row in rows])
        return self._loader(EvalBatches(rows, self.args.per_device_eval_batch_size, self.args.world_size))

    def _loader(self, batches: MicroBatches | EvalBatches) -> DataLoader[Any]:
        loader: DataLoader[Any] = DataLoader(
            batches,
            batch_size=1,
            shuffle=False,
            collate_fn=lambda items: self.data_collator(items[0]),
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    # -- loss

    def step_weight(self, batches: Sequence[Mapping[str, Tensor]], device: torch.device) -> Tensor:
        """Weight of all trained tokens of the optimizer step, over accumulation and ranks."""
        total = torch.as_tensor(
            sum(total_weight(batch, per_reply=self.args.per_reply) for batch in batches), device=device
        )
        if self.args.world_size > 1:
            total = self.accelerator.reduce(total, reduction="sum")
        return total // self.get_tp_size()

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Weighted loss of a micro-batch over the weight of its optimizer step.

        Raises:
            `ValueError`: If outputs are asked for: the logits of all positions are never built.
        """
        if return_outputs:
            raise ValueError("OnePassTrainer builds no logits for metrics: leave compute_metrics out")
        losses = token_losses(model, inputs, self._implementation, fused=self._fused)
        per_reply = self.args.per_reply
        total = num_items_in_batch if num_items_in_batch is not None else total_weight(inputs, per_reply=per_reply)
        loss = (losses * loss_weights(inputs, losses.dtype, per_reply=per_reply)).sum() / total.clamp(min=1)
        if not self.model.training:
            self._add_layers(losses.detach(), inputs)
            return loss
        self._count(inputs)
        # DDP averages gradients over ranks; `total` counts all ranks, so their sum is needed.
        return loss * (self.accelerator.num_processes // self.get_tp_size())

    # -- counters, which a checkpoint stores

    def _count(self, inputs: Mapping[str, Tensor]) -> None:
        """Counts tokens without padding, and replies, over all ranks."""
        counts = torch.stack([(inputs["own"] >= 0).sum(), total_weight(inputs, per_reply=True)])
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, reduction="sum") // self.get_tp_size()
        tokens, replies = counts.tolist()
        self.trained_tokens += tokens
        self._trained_replies += replies
        self.log_counts(**self.progress)

    @property
    def progress(self) -> dict[str, int]:
        """Tokens and replies trained so far; stored with a checkpoint, so that a resumed run counts on."""
        return {"num_tokens": self.trained_tokens, "num_replies": self._trained_replies}

    @progress.setter
    def progress(self, counts: Mapping[str, int]) -> None:
        self.trained_tokens, self._trained_replies = counts["num_tokens"], counts["num_replies"]

    # -- held-out loss

    def evaluation_loop(
        self, dataloader: DataLoader[Any], description: str, *args: Any, **kwargs: Any
    ) -> EvalLoopOutput:
        """The held-out loss as a mean over trained tokens, overall and by layer."""
        self._layer_sums.zero_()
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        sums = self._layer_sums.to(self.accelerator.device, torch.float32)
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        nll, counts = sums.double().cpu()
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics[f"{prefix}_loss"] = (nll.sum() / counts.sum().clamp(min=1)).item()
        for layer, total, count in zip(self._layers, nll.tolist(), counts.tolist(), strict=True):
            output.metrics[f"{prefix}_tokens_{layer}"] = int(count)
            if count:
                output.metrics[f"{prefix}_loss_{layer}"] = total / count
        return output

    def _add_layers(self, losses: Tensor, inputs: Mapping[str, Tensor]) -> None:
        layers = inputs["layers"]
        known = layers != IGNORED
        found = layers[known].cpu()
        self._layer_sums[0].index_add_(0, found, losses[known].double().cpu())
        self._layer_sums[1].index_add_(0, found, torch.ones(len(found), dtype=torch.float64))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Writes nothing: TRL's card makes claims that are not true here. The recipe writes ours."""
