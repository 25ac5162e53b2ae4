"""Merging a LoRA adapter into its base."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub import ModelCard, snapshot_download
from peft import PeftConfig, PeftModel, PeftType, load_peft_weights
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from her_hf.devices import torch_dtype
from her_hf.durable import new_folder
from her_hf.hub.listing import IGNORED, why_left_out
from her_hf.inference.loading import ADAPTER_CONFIG, adapter_config, base_not_found
from her_hf.processing import HERProcessor, check_embeddings
from her_hf.processing.companions import companions_of, copy_companions, knows_more_than_text
from her_hf.references import check_model

from .tokenizers import has_her_template

_CARD = "README.md"
_GENERATION = "generation_config.json"
_LEFT = [
    *(ADAPTER_CONFIG, "adapter_model.*", "config.json", _GENERATION),
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin*"),
    "pytorch_model_fsdp_*/*",
    *("optimizer.pt", "optimizer.bin", "optimizer_*/*", "scheduler.pt", "scaler.pt", "rng_state*.pth"),
    *("trainer_state.json", "global_step*/*", "latest", "zero_to_fp32.py"),
]
"""Files that belong to the adapter alone, or with which a run resumes; all others in its folder are copied."""


def merge_adapter(adapter: str | Path, out: str | Path, *, base: str | None = None, dtype: str = "auto") -> Path:
    """Writes base and adapter as one ordinary model.

    Args:
        adapter (`str` or `Path`): Folder or Hub id of the adapter. All that is beside its weights is copied:
            tokenizer, templates, processor, generation defaults, the note of a reward model, results, card.
        out (`str` or `Path`): Folder to write.
        base (`str`, *optional*): The base; the one that the adapter's configuration names if not given.
        dtype (`str`, *optional*, defaults to `"auto"`): Dtype of the weights, a torch name.

    Returns:
        `Path`: The folder, which plain `AutoModelForCausalLM` and `AutoTokenizer` load.

    Raises:
        `FileExistsError`: If `out` is not empty.
        `ValueError`: If `adapter` holds no adapter that can be merged, if its base cannot be found or is another
            one, or if its tokenizer has tokens beyond the embeddings.

    Example (not run: it needs a model):

    ```python
    >>> merge_adapter("outputs/lora", "outputs/merged")
    PosixPath('outputs/merged')
    ```
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: name another one, or remove it")
    folder = _adapter_folder(adapter)
    config = _config(adapter, folder)
    base = base or config.base_model_name_or_path
    if not base:
        raise ValueError(f"the adapter {adapter} does not name its base: give it with --base")
    merged = _merged(_load_base(base, adapter, dtype), folder, adapter, base)
    carries_tokenizer = (folder / "tokenizer_config.json").is_file()
    tokenizer = AutoTokenizer.from_pretrained(str(folder) if carries_tokenizer else base)
    check_embeddings(tokenizer, merged.config, str(adapter))
    merged.generation_config = _generation_config(folder, tokenizer, merged.generation_config)
    with new_folder(out) as draft:
        merged.save_pretrained(draft)
        if not carries_tokenizer:
            tokenizer.save_pretrained(draft)
        for name in _carried(folder):
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, draft / name)
        if knows_more_than_text(merged.config):
            copy_companions(companions_of(base), draft)
        if (draft / _CARD).is_file():
            _rewrite_card(draft / _CARD)
    return out


def _adapter_folder(adapter: str | Path) -> Path:
    """The adapter's files on this machine."""
    folder = Path(adapter)
    if not folder.exists():
        check_model(adapter)
        try:
            folder = Path(snapshot_download(str(adapter), ignore_patterns=IGNORED))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{adapter} is not a folder here (looked in {Path.cwd()}), and not an adapter on the Hub that can be "
                f"reached ({str(error).splitlines()[0][:200]})"
            ) from error
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"{adapter} holds no LoRA adapter: it has no {ADAPTER_CONFIG}. Name the output_dir of a LoRA run."
        )
    if not any(folder.glob("adapter_model.*")):
        raise ValueError(
            f"{adapter} has an {ADAPTER_CONFIG}, but no weights (adapter_model.safetensors): name the output_dir of a "
            "finished LoRA run, or one of its checkpoints"
        )
    return folder


def _config(adapter: str | Path, folder: Path) -> PeftConfig:
    """The adapter's configuration, if it can be merged into a language model."""
    kind = adapter_config(folder).get("peft_type")
    if kind not in list(PeftType):
        raise ValueError(f"{folder / ADAPTER_CONFIG}: peft_type {kind!r} is not known here: name a LoRA adapter")
    config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning or config.task_type not in (None, "CAUSAL_LM"):
        raise ValueError(
            f"{adapter} is an adapter of type {config.peft_type} for {config.task_type}, which cannot be merged into "
            "the weights of a language model: name a LoRA adapter"
        )
    return config


def _load_base(base: str, adapter: str | Path, dtype: str) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch_dtype(dtype))
    except OSError as error:
        if Path(base).exists():
            raise
        raise ValueError(f"{base_not_found(base, adapter)}: give it with --base") from error
    except _UNREADABLE as error:
        raise ValueError(
            f"the base {base} of the adapter {adapter} cannot be loaded: {_message(error)}. Give a whole model with "
            "--base"
        ) from error


def _merged(model: PreTrainedModel, folder: Path, adapter: str | Path, base: str) -> PreTrainedModel:
    """The base with the adapter merged in."""
    try:
        _make_room(model, load_peft_weights(str(folder), device="cpu"))
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except _UNREADABLE as error:
        raise ValueError(
            f"the adapter {adapter} cannot be put on the base {base}: {_message(error)}. Give the base that it was "
            "trained on with --base; if a file of the adapter is damaged, copy its folder again"
        ) from error


def _make_room(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Gives the base as many embeddings as an adapter that was trained with added tokens has."""
    parts = [model.get_input_embeddings()]
    if (head := model.get_output_embeddings()) is not None and head.weight is not parts[0].weight:
        parts.append(head)
    has = parts[0].weight.shape[0]
    found = [_rows(name, weights) for part in parts for name, module in model.named_modules() if module is part]
    wanted = {rows for rows in found if rows is not None} - {has}
    if not wanted:
        return
    if len(wanted) > 1 or None in found or has in found:
        raise ValueError(
            f"it was trained with {max(wanted)} tokens, the base has {has}, and it does not have both embeddings and "
            "head (modules_to_save)"
        )
    model.resize_token_embeddings(wanted.pop(), mean_resizing=False)


def _rows(module: str, weights: Mapping[str, torch.Tensor]) -> int | None:
    """Number of tokens of the weights of a module; `None` if the adapter has no whole weights of it."""
    found = [
        tensor.shape[0]
        for name, tensor in weights.items()
        if name.startswith(f"base_model.model.{module}.") and name.endswith(".weight") and ".lora_" not in name
    ]
    return found[0] if found else None


_UNREADABLE = (RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError, UnpicklingError, SafetensorError)
"""What the libraries raise for weights that are damaged or do not fit."""


def _message(error: BaseException) -> str:
    """The message of an error, on one line and shortened."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}…"


def _generation_config(
    folder: Path, tokenizer: PreTrainedTokenizerBase, of_base: GenerationConfig
) -> GenerationConfig:
    """The adapter's defaults, else those of the method, and every token at which the base stops."""
    if not (folder / _GENERATION).is_file():
        return HERProcessor(tokenizer).generation_config(of_base) if has_her_template(tokenizer) else of_base
    config = GenerationConfig.from_pretrained(folder)
    stops = [*_listed(config.eos_token_id), *_listed(of_base.eos_token_id)]
    config.eos_token_id = list(dict.fromkeys(stops)) or None
    return config


def _listed(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _carried(folder: Path) -> list[str]:
    """Names of the files beside the adapter's weights."""
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    return [name for name in names if not why_left_out(name) and not any(fnmatch(name, one) for one in _LEFT)]


def _rewrite_card(file: Path) -> None:
    """Makes the adapter's card say that this is a whole model."""
    text = file.read_text(encoding="utf-8")
    card = ModelCard(text, ignore_metadata_errors=True)
    if card.data.get("library_name") != "peft":
        return
    card.data["library_name"] = "transformers"
    if card.data.get("base_model_relation") == "adapter":
        card.data["base_model_relation"] = "finetune"
    body = card.text.lstrip("\n")
    card.text = f"\n{body.rstrip()}\n\nMerged: the LoRA adapter that this card describes was merged into its base.\n"
    file.write_text(str(card), encoding="utf-8")
