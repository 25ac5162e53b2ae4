"""What the settings of every trainer have in common: precision by device, and no run that forgets what it has seen."""

from __future__ import annotations

import os

from transformers import TrainingArguments

from her_hf.devices import best_device, settle_bf16

REPEATS_DATA = "a resumed run would train the data again that it has seen"
"""Why `ignore_data_skip` is refused."""

_LAUNCHED_WITH = "ACCELERATE_MIXED_PRECISION"


def settle_device(args: TrainingArguments) -> None:
    """Settles precision before transformers does.

    No bf16 where the device only emulates it; and `use_cpu` where bf16 runs on a CPU, which transformers requires. The
    precision that `accelerate launch` was given counts too.

    Args:
        args (`TrainingArguments`): Changed in place.
    """
    on_cpu = args.use_cpu or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "on")
    device = "cpu" if on_cpu else best_device()
    launched_with_bf16 = os.environ.get(_LAUNCHED_WITH) == "bf16"
    args.bf16 = settle_bf16(bool(args.bf16) or launched_with_bf16, device)
    if launched_with_bf16 and not args.bf16:
        os.environ[_LAUNCHED_WITH] = "no"  # transformers would follow it
    if args.bf16 and device == "cpu":
        args.use_cpu = True
