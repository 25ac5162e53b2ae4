"""What to install when a library of an extra is missing: one wording for every such error. Standard library only."""

from __future__ import annotations

MODULES = {
    "accelerate": "train",
    "bm25s": "retrieval",
    "datasets": "data",
    "datasketch": "data",
    "evaluate": "eval",
    "gguf": "train",
    "gradio": "demo",
    "inspect_ai": "inspect",
    "krippendorff": "eval",
    "matplotlib": "eval",
    "nltk": "eval",
    "numpy": "eval",
    "peft": "train",
    "pyarrow": "data",
    "scipy": "eval",
    "sentence_transformers": "embeddings",
    "sklearn": "data",
    "torch": "train",
    "tqdm": "eval",
    "transformers": "train",
    "trl": "train",
}
"""Modules outside the core dependencies, each with the extra that brings it; the smallest where several do."""


def missing_library(purpose: str, error: ImportError, *, module: str | None = None) -> ImportError:
    """The error to raise when a library that an extra brings cannot be imported.

    The line that it names works wherever her_hf is installed: pip finds the installed her_hf and adds what the extra
    needs, without looking for her_hf itself on an index.

    Args:
        purpose (`str`): What needs the library, as the subject of the sentence: `"BLEU"`.
        error (`ImportError`): What Python said.
        module (`str`, *optional*): Which module was wanted; else the one that `error` names.

    Returns:
        `ImportError`: With purpose, module, Python's words and the install line; to be raised `from error`.

    Example:

    ```python
    >>> print(missing_library("BLEU", ModuleNotFoundError("No module named 'nltk'", name="nltk")))
    BLEU needs nltk, which cannot be imported (No module named 'nltk'); install the extra 'eval': \
pip install 'her_hf[eval]' (in a checkout: pip install -e '.[eval]')
    ```
    """
    name = (module or error.name or "").partition(".")[0]
    library = name.replace("_", "-") or "a library"
    return ImportError(f"{purpose} needs {library}, which cannot be imported ({error}){_remedy(name)}", name=name)


def _remedy(module: str) -> str:
    extra = MODULES.get(module)
    if extra is None:
        return ""
    return f"; install the extra {extra!r}: pip install 'her_hf[{extra}]' (in a checkout: pip install -e '.[{extra}]')"
