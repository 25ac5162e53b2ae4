"""A checkpoint for machines without a finished quickstart: a small Llama that has learnt one scene by heart.

It is made by the code that makes real ones (`recipes/sft.py`), in about a minute, and made again when that code
changes. Run it to make it ahead of the tests: `python -m tests.integration.tiny_checkpoint`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.venvs import INTEGRATION, ROOT

DATA = INTEGRATION / "data"
OUT = ROOT / "outputs" / "integration"
TOKENIZER = ROOT / "tests" / "fixtures" / "tokenizers" / "smollm2"

_STAMP = "made_from.txt"


def tiny_checkpoint() -> Path:
    """The checkpoint's folder.

    Raises:
        `RuntimeError`: If the recipe fails; the message holds the end of its output.
    """
    folder, base = OUT / "her-tiny", OUT / "tiny-base"
    digest, stamp = _digest(), OUT / _STAMP
    if stamp.is_file() and stamp.read_text() == digest:
        return folder
    stamp.unlink(missing_ok=True)
    for old in (folder, base):
        shutil.rmtree(old, ignore_errors=True)
    write_tiny_base(base)
    command = [sys.executable, "recipes/sft.py", "--config", str(DATA / "config.yaml"), "--dataset", str(DATA)]
    command += ["--model_name_or_path", str(base), "--output_dir", str(folder)]
    # On layers this small, two threads mostly wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    stamp.write_text(digest)
    return folder


def write_tiny_base(folder: Path) -> None:
    """A random Llama with the small SmolLM2-style tokenizer of the unit tests (a large vocabulary trains slowly)."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _digest() -> str:
    """Hash of everything the checkpoint is made from."""
    found = hashlib.sha256()
    code = [*ROOT.glob("her_hf/**/*.py"), *ROOT.glob("her_hf/**/*.jinja"), ROOT / "recipes" / "sft.py"]
    for file in sorted([*code, *DATA.iterdir(), *TOKENIZER.iterdir(), Path(__file__)]):
        found.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    print(tiny_checkpoint())
