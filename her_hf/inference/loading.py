"""Loading a model and its tokenizer into this process, with errors that name a remedy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.devices import best_device, settle_dtype
from her_hf.references import check_model

from .inline import OPENING

ADAPTER_CONFIG = "adapter_config.json"


def load_parts(source: str, *, device: str | None, dtype: str | None, attach: bool) -> tuple[Any, Any, list[str]]:
    """The model, its tokenizer, and notes for the user; see [`LocalModel.load`]."""
    path = Path(source).expanduser()
    check_model(source)
    folder = str(path) if path.exists() else source
    base = _base_of(path)
    device = _usable_device(device) if device else best_device()
    wanted = settle_dtype(dtype, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=wanted).to(device)
        tokenizer = AutoTokenizer.from_pretrained(folder, mistral_format=False)  # as load_tokenizer does
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, UnpicklingError, SafetensorError) as error:
        if base and not Path(base).exists() and isinstance(error, OSError):
            raise FileNotFoundError(
                f"{base_not_found(base, source)}. Merge the adapter with the base at its current location "
                f"(her-hf merge {source} OUT --base BASE), and name the merged folder."
            ) from error
        kind = FileNotFoundError if isinstance(error, OSError) else ValueError
        raise kind(
            f"No model could be loaded from {source!r}: {first_line(error).rstrip('.')}. Give a complete folder "
            "written by `save_pretrained`, a Hub id, or a server's URL."
        ) from error
    from her_hf.processing import attach_tokenizer, check_embeddings, take_any_roles

    check_embeddings(tokenizer, model.config, source)
    notes = []
    if template_of(tokenizer) is None and not attach:
        raise ValueError(f"{source} has no chat template: name a chat model or a reward model.")
    if attach and OPENING.strip() not in (template_of(tokenizer) or ""):
        tokenizer = attach_tokenizer(tokenizer)
        notes.append(
            f"{source} does not have the HER chat template; it was added for this run. "
            "`her-hf attach` writes a folder with the template."
        )
    elif note := take_any_roles(tokenizer):
        notes.append(note)
    return model, tokenizer, notes


def base_not_found(base: str, adapter: str | Path) -> str:
    """The error for an adapter whose base cannot be found.

    An adapter stores the path that was given to its training, which may have been relative to another folder.
    """
    return (
        f"the base {base!r} of the adapter {adapter} is neither a folder here (looked in {Path.cwd()}) nor a model on "
        "the Hub that can be reached"
    )


def _base_of(folder: Path) -> str | None:
    """The base that is named by a folder with an adapter."""
    if not (folder / ADAPTER_CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    base = adapter_config(folder).get("base_model_name_or_path")
    return base if isinstance(base, str) else None


def adapter_config(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter.

    Raises:
        `ValueError`: If it cannot be read; the message names the file.
    """
    file = folder / ADAPTER_CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {first_line(error)}. Copy the adapter's folder again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file} must hold an object, got {type(config).__name__}. Copy the adapter's folder again.")
    return config


def template_of(tokenizer: Any) -> str | None:
    """A tokenizer's chat template; the default one of several."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def _usable_device(name: str) -> str:
    """The device, checked before weights are read for it."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"torch cannot use the device {name!r} here: {first_line(error).partition('. ')[0]}. Name another one, "
            f"such as {best_device()}, or leave the option out."
        ) from error
    return name


def first_line(error: BaseException) -> str:
    """The message of an error, its first line."""
    text = f"unknown key {error}" if isinstance(error, KeyError) else str(error)
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__


def weights_digest(model: Any) -> str:
    """Digest of a sample of each tensor: it changes with every training step, without reading all weights."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 1024)].float().cpu().contiguous()
        sha.update(name.encode() + sample.numpy().tobytes())
    return sha.hexdigest()
