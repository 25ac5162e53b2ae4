"""Settings of an SFT run: the data, and the trainer's own settings on top of TRL's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from trl import SFTConfig

from her_hf.devices import best_device, settle_bf16


@dataclass
class DataConfig:
    """What is trained on.

    Args:
        dataset (`str`): A folder, a file or a Hub id that [`~her_hf.scenes.load_samples`] reads: scenes, or
            conversations (`messages` or `conversations`). A config follows behind a colon: `owner/name:config`.
        train_split (`str`, *optional*, defaults to `"train"`): Split to train on.
        eval_split (`str`, *optional*, defaults to `"validation"`): Split held out; empty for none.
        languages (`list[str]`, *optional*): Keep only scenes and conversations of these languages; all if not given.
        max_scenes (`int`, *optional*): Use only the first scenes or conversations of the training split.
        max_eval_scenes (`int`, *optional*): Use only the first scenes or conversations of the held-out split.
        system_thinking (`bool`, *optional*, defaults to `True`): Train system thinking; `False` is the ablation.
            Conversations keep their own system prompt in either case.
        last_reply_only (`bool`, *optional*, defaults to `False`): Of each conversation train the last reply alone, as
            data with one sample a reply needs it (HER's `sft_single_turn`). Scenes are trained whole.
        license (`str`, *optional*): License of the model, for its card; not stated if not given.
    """

    dataset: str = field(
        metadata={
            "help": "Folder, file or Hub id of scenes (her-mini, HER rows, CoSER) or conversations (messages or "
            "ShareGPT); a config of it behind a colon: owner/name:config."
        }
    )
    train_split: str = field(default="train", metadata={"help": "Split to train on."})
    eval_split: str = field(default="validation", metadata={"help": "Split held out; an empty string for none."})
    languages: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Keep only what is in these languages (en, zh); all if empty. A conversation must name its own."
        },
    )
    max_scenes: int | None = field(
        default=None, metadata={"help": "Use only this many training scenes or conversations, the first ones."}
    )
    max_eval_scenes: int | None = field(
        default=None, metadata={"help": "Use only this many held-out scenes or conversations, the first."}
    )
    system_thinking: bool = field(
        default=True,
        metadata={
            "help": "Train system thinking. False: the ablation without it; scenes get their own prompt variant, "
            "conversations keep their system prompt."
        },
    )
    last_reply_only: bool = field(
        default=False,
        metadata={
            "help": "Of each conversation train the last reply alone: for data with one sample a reply, whose earlier "
            "replies are history. Scenes are trained whole."
        },
    )
    license: str | None = field(
        default=None, metadata={"help": "License of the trained model, for its card (it follows base and data)."}
    )


@dataclass
class OnePassConfig(SFTConfig):  # type: ignore[misc]
    """TRL's SFT settings with those of one-pass training, and with what would spoil its rows switched off.

    Args:
        one_pass (`bool`, *optional*, defaults to `True`): One row a conversation; `False`: one sample a reply.
        max_tokens (`int`, *optional*): The window: what a reply may see and be, in tokens. The oldest turns go
            whole to fit. `row_tokens` if not given, else what the model holds, which is the most in any case.
        row_tokens (`int`, *optional*): Most tokens of a row; `max_tokens` if not given.
        replies_per_step (`int`, *optional*, defaults to `32`): Batch size: replies of an optimizer step, over all
            ranks.
        rows_together (`int`, *optional*, defaults to 1): So many neighbouring rows come into the same step: 2 for the
            two orders of a pair.
        pack_rows (`bool`, *optional*, defaults to `False`): Lay the rows of a micro-batch into one, without padding.
        per_reply (`bool`, *optional*, defaults to `False`): Mean in a reply, then over replies, instead of over
            tokens.
        freeze_embeddings (`bool`, *optional*, defaults to `False`): Leave input embeddings and head as they are. Few
            steps on few texts else move the many words that do not occur in them.
        train_last_layers (`int`, *optional*): Train only this many decoder layers, the last ones, with the final norm;
            embeddings, head and the layers below stay as they are and need neither gradients nor optimizer state.
        loss_head (`str`, *optional*, defaults to `"auto"`): `"plain"`, `"fused"`, or `"auto"` (fused on CUDA).

    Raises:
        `ValueError`: If a setting of TRL is given that would truncate, drop or change the rows.
    """

    one_pass: bool = field(
        default=True, metadata={"help": "One row a conversation. False: the ordinary way, one sample a reply."}
    )
    max_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Window of a reply in tokens: prompt and reply. Oldest turns are dropped whole to fit it. If not "
            "given: row_tokens, else what the model holds, which is the most in any case."
        },
    )
    row_tokens: int | None = field(
        default=None, metadata={"help": "Most tokens of a row, trunk and branches; max_tokens if not given."}
    )
    replies_per_step: int = field(
        default=32, metadata={"help": "Batch size: replies of one optimizer step, over all ranks and accumulation."}
    )
    rows_together: int = field(default=1, metadata={"help": "So many neighbouring rows come into the same step."})
    pack_rows: bool = field(
        default=False, metadata={"help": "Lay all rows of a micro-batch into one, blind to each other (no padding)."}
    )
    per_reply: bool = field(
        default=False, metadata={"help": "Loss: mean in a reply, then over replies. False: mean over trained tokens."}
    )
    freeze_embeddings: bool = field(default=False, metadata={"help": "Leave input embeddings and head as they are."})
    train_last_layers: int | None = field(
        default=None,
        metadata={"help": "Train only this many decoder layers, the last ones, and no embeddings; all if not given."},
    )
    loss_head: str = field(
        default="auto",
        metadata={
            "help": "plain: logits of trained positions. fused: TRL's chunked float32 head. auto: fused on CUDA."
        },
    )
    max_length: int | None = field(default=None, metadata={"help": "TRL truncates with it: leave it, use max_tokens."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "Leave it: position_ids would be stripped."})
    per_device_train_batch_size: int = field(default=1, metadata={"help": "Leave it: use replies_per_step."})
    per_device_eval_batch_size: int = field(default=4, metadata={"help": "Held-out rows of a batch on each device."})
    bf16: bool | None = field(default=False, metadata={"help": "bfloat16 mixed precision; said explicitly."})
    gradient_checkpointing: bool | None = field(
        default=None, metadata={"help": "Trade time for memory; said explicitly, off if not."}
    )
    activation_checkpointing: bool | None = field(
        default=None, metadata={"help": "New name of gradient_checkpointing."}
    )
    prediction_loss_only: bool = field(default=True, metadata={"help": "Leave it: the held-out loss needs no logits."})
    dataset_kwargs: dict[str, Any] | str | None = field(
        default_factory=lambda: {"skip_prepare_dataset": True}, metadata={"help": "Leave it: rows are made already."}
    )

    def __post_init__(self) -> None:
        settle_device(self)
        # TRL turns checkpointing on unless told; the old name alone makes transformers warn, so both are set.
        self.activation_checkpointing = bool(self.activation_checkpointing or self.gradient_checkpointing)
        super().__post_init__()
        wrong = [f"{name}={getattr(self, name)!r} ({why})" for name, (want, why) in _FIXED.items()
                 if getattr(self, name) != want]  # fmt: skip
        if wrong:
            raise ValueError(f"one-pass training cannot follow these settings, leave them out: {'; '.join(wrong)}")
        if self.loss_head not in ("auto", "plain", "fused"):
            raise ValueError(f"loss_head must be auto, plain or fused, got {self.loss_head!r}")
        if self.train_last_layers is not None and self.train_last_layers < 1:
            raise ValueError(f"train_last_layers must be at least 1, got {self.train_last_layers}")
        if self.rows_together < 1:
            raise ValueError(f"rows_together must be at least 1, got {self.rows_together}")
        if self.max_tokens is None:
            self.max_tokens = self.row_tokens  # a longer reply would fit into no row
        if self.row_tokens is not None and self.max_tokens is not None and self.row_tokens < self.max_tokens:
            raise ValueError(
                f"row_tokens must hold at least one window: got {self.row_tokens} with max_tokens={self.max_tokens}"
            )
        bins = self.world_size * self.gradient_accumulation_steps
        if self.replies_per_step < bins:
            raise ValueError(
                f"replies_per_step is {self.replies_per_step}, but {self.world_size} ranks with "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps} want at least {bins} replies a step"
            )


_LAUNCHED_WITH = "ACCELERATE_MIXED_PRECISION"


def settle_device(args: TrainingArguments) -> None:
    """Settles precision before transformers does: no bf16 where the device emulates it, and `use_cpu` where bf16 runs
    on a CPU, which transformers wants said. What `accelerate launch` was asked for counts too."""
    on_cpu = args.use_cpu or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    device = "cpu" if on_cpu else best_device()
    launched_with_bf16 = os.environ.get(_LAUNCHED_WITH) == "bf16"
    args.bf16 = settle_bf16(bool(args.bf16) or launched_with_bf16, device)
    if launched_with_bf16 and not args.bf16:
        os.environ[_LAUNCHED_WITH] = "no"  # transformers would follow it
    if args.bf16 and device == "cpu":
        args.use_cpu = True


SKIP = "a run that goes on after a stop would train again what it has seen"
"""Why no run may ignore what it has seen."""

_FIXED: dict[str, tuple[Any, str]] = {
    "max_length": (None, "TRL truncates and drops rows with it: use max_tokens"),
    "packing": (False, "use pack_rows"),
    "eval_packing": (None, "use pack_rows"),
    "padding_free": (False, "it ignores the mask: use pack_rows"),
    "remove_unused_columns": (False, "it strips position_ids"),
    "dataset_kwargs": ({"skip_prepare_dataset": True}, "the rows are made already"),
    "per_device_train_batch_size": (1, "the batch size is stated in replies: use replies_per_step"),
    "label_smoothing_factor": (0.0, "the loss is the likelihood of the trained tokens"),
    "loss_type": ("nll", "the loss is the likelihood of the trained tokens"),
    "assistant_only_loss": (False, "the template marks what is trained"),
    "completion_only_loss": (None, "the template marks what is trained"),
    "chat_template_path": (None, "the HER template is attached to the tokenizer"),
    "model_init_kwargs": (None, "the recipe loads the model: use dtype and attn_implementation"),
    "trust_remote_code": (False, "no remote code is run"),
    "dataloader_num_workers": (0, "the rows are made already, and batches of them cost next to nothing"),
    "dataloader_persistent_workers": (False, "there are no workers"),
    "dataloader_prefetch_factor": (None, "there are no workers"),
    "dataloader_drop_last": (False, "no reply is left out: the last step of an epoch may have fewer"),
    "train_sampling_strategy": ("random", "steps are planned in replies, shuffled by data_seed or seed"),
    "auto_find_batch_size": (False, "the batch size is stated in replies: use replies_per_step and row_tokens"),
    "ignore_data_skip": (False, SKIP),
    "prediction_loss_only": (True, "the held-out loss needs no logits"),
}
