"""Small checkpoints of random weights, one for each fixture tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer

from her_hf.processing import attach_model
from tests.support.one_pass import tiny_model
from tests.support.tokenizers import BASES

PRE_TOKENIZERS = {"smollm2": "smollm", "qwen3": "qwen2", "llama3": "llama-bpe"}
"""llama.cpp's pre-tokenizers of the fixtures, whose small vocabularies its converter does not recognize."""


def random_checkpoint(root: Path, name: str) -> Path:
    """Writes the plain model `root/NAME-base`, and `root/NAME` with the method attached.

    Args:
        root (`Path`): Folder for both.
        name (`str`): Name of a fixture tokenizer.

    Returns:
        `Path`: The folder with the method.
    """
    base, out = root / f"{name}-base", root / name
    tokenizer = AutoTokenizer.from_pretrained(BASES / name)
    tokenizer.save_pretrained(base)
    kind = "qwen3" if name == "qwen3" else "llama"
    sizes = {"intermediate_size": 64, "max_position_embeddings": 4096}  # llama.cpp's blocks hold 32 weights
    tiny_model(kind, len(tokenizer), dtype=torch.float32, **sizes).save_pretrained(base)
    attach_model(base, out)
    return out
