"""Folding a LoRA adapter into its base."""

from __future__ import annotations

from pathlib import Path

from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from her_hf.durable import new_folder
from her_hf.hub.base import torch_dtype
from her_hf.inference.local import base_not_found
from her_hf.processing import HERProcessor


def merge_adapter(adapter: str | Path, out: str | Path, *, base: str | None = None, dtype: str = "auto") -> Path:
    """Writes base and adapter as one ordinary model.

    Args:
        adapter (`str` or `Path`): Folder or Hub id of the adapter; its tokenizer, template and generation defaults are
            kept.
        out (`str` or `Path`): Folder to write.
        base (`str`, *optional*): The base; where the adapter's configuration says if not given.
        dtype (`str`, *optional*, defaults to `"auto"`): Dtype of the weights, a torch name.

    Returns:
        `Path`: The folder, which plain `AutoModelForCausalLM` and `AutoTokenizer` load.

    Raises:
        `FileExistsError`: If `out` is not empty.
        `ValueError`: If `adapter` holds no adapter, or its base cannot be found.

    Example:

    ```python
    >>> merge_adapter("outputs/lora", "outputs/merged")
    PosixPath('outputs/merged')
    ```
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: name another one, or remove it")
    if Path(adapter).exists() and not (Path(adapter) / "adapter_config.json").is_file():
        raise ValueError(
            f"{adapter} holds no LoRA adapter: it has no adapter_config.json. Name the output_dir of a LoRA run."
        )
    base = base or PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    if not base:
        raise ValueError(f"the adapter {adapter} does not name its base: give it with --base")
    model = _load_base(base, adapter, dtype)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    processor = HERProcessor(AutoTokenizer.from_pretrained(str(adapter)))
    merged.generation_config = processor.generation_config(merged.generation_config)
    with new_folder(out) as draft:
        merged.save_pretrained(draft)
        processor.save_pretrained(draft)
    return out


def _load_base(base: str, adapter: str | Path, dtype: str) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch_dtype(dtype))
    except OSError as error:
        if Path(base).exists():
            raise
        raise ValueError(f"{base_not_found(base, adapter)}: give it with --base") from error
