"""Settings of the one-pass trainer: its own on top of TRL's, and those of TRL that would spoil its rows refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trl import SFTConfig

from ..run.settings import REPEATS_DATA, settle_device


@dataclass
class OnePassConfig(SFTConfig):  # type: ignore[misc]
    """TRL's SFT settings with those of one-pass training; settings that would spoil its rows are switched off.

    Args:
        one_pass (`bool`, *optional*, defaults to `True`): One row a conversation; `False`: one sample a reply.
        max_context (`int`, *optional*): The window: most tokens of a prompt and its reply together. The oldest turns
            are dropped whole to fit. `row_tokens` if not given, else the window of the model, which is the upper limit
            in any case.
        row_tokens (`int`, *optional*): Most tokens of a row; `max_context` if not given.
        replies_per_step (`int`, *optional*, defaults to `32`): Batch size: replies of an optimizer step, over all
            ranks.
        row_group_size (`int`, *optional*, defaults to 1): Neighbouring rows that are kept in the same step: 2 for the
            two orders of a pair.
        pack_rows (`bool`, *optional*, defaults to `False`): Pack the rows of a micro-batch into one, without padding.
        per_reply (`bool`, *optional*, defaults to `False`): Loss as a mean within each reply, then over replies,
            instead of over tokens.
        freeze_embeddings (`bool`, *optional*, defaults to `False`): Do not train input embeddings and head. A short
            run on little text otherwise moves the many words that do not occur in it.
        train_last_layers (`int`, *optional*): Train only this many decoder layers, the last ones, and the final norm.
            Embeddings, head and the layers below are frozen and need neither gradients nor optimizer state.
        loss_head (`str`, *optional*, defaults to `"auto"`): `"plain"`, `"fused"`, or `"auto"` (fused on CUDA).

    Raises:
        `ValueError`: If a setting is given with which TRL would truncate, drop or change the rows.
    """

    one_pass: bool = field(
        default=True, metadata={"help": "One row a conversation. False: the ordinary way, one sample a reply."}
    )
    max_context: int | None = field(
        default=None,
        metadata={
            "help": "Window in tokens: prompt and reply together. Oldest turns are dropped whole to fit. If not "
            "given: row_tokens, else the window of the model, which is the upper limit in any case."
        },
    )
    row_tokens: int | None = field(
        default=None, metadata={"help": "Most tokens of a row, trunk and branches; max_context if not given."}
    )
    replies_per_step: int = field(
        default=32, metadata={"help": "Batch size: replies of one optimizer step, over all ranks and accumulation."}
    )
    row_group_size: int = field(
        default=1, metadata={"help": "Neighbouring rows kept in the same step: 2 for the two orders of a pair."}
    )
    pack_rows: bool = field(
        default=False,
        metadata={"help": "Pack all rows of a micro-batch into one, hidden from each other (no padding)."},
    )
    per_reply: bool = field(
        default=False,
        metadata={"help": "Loss: mean within a reply, then over replies. False: mean over trained tokens."},
    )
    freeze_embeddings: bool = field(default=False, metadata={"help": "Do not train input embeddings and head."})
    train_last_layers: int | None = field(
        default=None,
        metadata={"help": "Train only this many decoder layers, the last ones, and no embeddings; all if not given."},
    )
    loss_head: Literal["auto", "plain", "fused"] = field(
        default="auto",
        metadata={
            "help": "plain: logits of trained positions. fused: TRL's chunked float32 head. auto: fused on CUDA."
        },
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Do not set: TRL truncates with it. Use max_context."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Do not set: position_ids would be stripped."}
    )
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Do not set: use replies_per_step."})
    per_device_eval_batch_size: int = field(default=4, metadata={"help": "Held-out rows of a batch on each device."})
    bf16: bool | None = field(default=False, metadata={"help": "bfloat16 mixed precision; only if asked for."})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Save memory at the cost of time; only if asked for."}
    )
    activation_checkpointing: bool | None = field(
        default=None, metadata={"help": "New name of gradient_checkpointing."}
    )
    prediction_loss_only: bool = field(
        default=True, metadata={"help": "Do not set: the held-out loss needs no logits."}
    )
    dataset_kwargs: dict[str, Any] | str | None = field(
        default_factory=lambda: {"skip_prepare_dataset": True},
        metadata={"help": "Do not set: the rows are ready to train."},
    )

    def __post_init__(self) -> None:
        settle_device(self)
        # TRL turns checkpointing on by default, and transformers warns of the old name alone, so both are set.
        self.activation_checkpointing = bool(self.activation_checkpointing or self.gradient_checkpointing)
        super().__post_init__()
        wrong = [f"{name}={getattr(self, name)!r} ({why})" for name, (want, why) in _FIXED.items()
                 if getattr(self, name) != want]  # fmt: skip
        if wrong:
            raise ValueError(f"one-pass training does not support these settings, remove them: {'; '.join(wrong)}")
        if self.loss_head not in ("auto", "plain", "fused"):
            raise ValueError(f"loss_head must be auto, plain or fused, got {self.loss_head!r}")
        for name in ("train_last_layers", "row_group_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._check_sizes()

    def _check_sizes(self) -> None:
        if self.max_context is None:
            self.max_context = self.row_tokens  # a longer reply would fit into no row
        if self.row_tokens is not None and self.max_context is not None and self.row_tokens < self.max_context:
            raise ValueError(
                f"row_tokens must hold at least one window: got {self.row_tokens} with max_context={self.max_context}"
            )
        bins = self.world_size * self.gradient_accumulation_steps
        if self.replies_per_step < bins:
            raise ValueError(
                f"replies_per_step is {self.replies_per_step}, but {self.world_size} ranks with "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps} need at least {bins} replies a step"
            )


_FIXED: dict[str, tuple[Any, str]] = {
    "max_length": (None, "TRL truncates and drops rows with it: use max_context"),
    "packing": (False, "use pack_rows"),
    "eval_packing": (None, "use pack_rows"),
    "padding_free": (False, "it ignores the mask: use pack_rows"),
    "remove_unused_columns": (False, "it strips position_ids"),
    "dataset_kwargs": ({"skip_prepare_dataset": True}, "the rows are ready to train"),
    "per_device_train_batch_size": (1, "the batch size is stated in replies: use replies_per_step"),
    "label_smoothing_factor": (0.0, "the loss is the likelihood of the trained tokens"),
    "loss_type": ("nll", "the loss is the likelihood of the trained tokens"),
    "assistant_only_loss": (False, "the template marks what is trained"),
    "completion_only_loss": (None, "the template marks what is trained"),
    "chat_template_path": (None, "the HER template is attached to the tokenizer"),
    "model_init_kwargs": (None, "the recipe loads the model: use dtype and attn_implementation"),
    "trust_remote_code": (False, "no remote code is run"),
    "dataloader_num_workers": (0, "the rows are ready to train, and batches of them cost next to nothing"),
    "dataloader_persistent_workers": (False, "there are no workers"),
    "dataloader_prefetch_factor": (None, "there are no workers"),
    "dataloader_drop_last": (False, "no reply is left out: the last step of an epoch may have fewer"),
    "train_sampling_strategy": ("random", "steps are planned in replies, shuffled by data_seed or seed"),
    "auto_find_batch_size": (False, "the batch size is stated in replies: use replies_per_step and row_tokens"),
    "ignore_data_skip": (False, REPEATS_DATA),
    "prediction_loss_only": (True, "the held-out loss needs no logits"),
}
"""The one value of each setting that one-pass training supports, and why."""
