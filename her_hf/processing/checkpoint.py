"""Attaching the method to a whole model folder."""

from __future__ import annotations

import filecmp
import shutil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from her_hf.durable import new_folder

from .attach import load_tokenizer, read_config
from .companions import COMPANIONS, PROCESSOR, companions_of, copy_companions
from .embeddings import check_embeddings
from .processor import HERProcessor

if TYPE_CHECKING:
    from transformers import GenerationConfig

ADAPTER = "adapter_config.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
MODEL_FILES = (*WEIGHTS, *COMPANIONS, "config.json", "base_source.json", "LICENSE*", "NOTICE*", "USE_POLICY*")
"""Files of a model folder that are copied unchanged; tokenizer, templates, processor and generation config are not."""


def attach_model(base: str | PathLike[str], out: str | PathLike[str], *, bare_prefill: bool = False) -> HERProcessor:
    """Writes a checkpoint folder with the method: the weights of `base` and everything HER adds.

    Weights are copied, not loaded. A base without weights (a tokenizer alone) gives a folder without weights.

    Args:
        base (`str` or `PathLike`): Local folder or Hub id.
        out (`str` or `PathLike`): Folder to write; empty or missing. It appears under this name only when complete.
            If it holds the same checkpoint already, it is not changed.
        bare_prefill (`bool`, *optional*, defaults to `False`): See [`HERProcessor.attach`].

    Returns:
        `HERProcessor`: The processor of the new checkpoint.

    Raises:
        `FileExistsError`: If `out` is a file or holds anything else.
        `ValueError`: If the base is a LoRA adapter, if transformers cannot read its config.json, if its tokenizer
            has tokens without embeddings, or if the method cannot be attached; see [`HERProcessor.attach`].
        `FileNotFoundError`: If the base has weights, but not as safetensors.

    Example (not run: it needs a model):

    ```python
    >>> attach_model("HuggingFaceTB/SmolLM2-135M-Instruct", "outputs/smollm2-her")
    ```
    """
    out = Path(out)
    if out.is_file():
        raise FileExistsError(f"{out} is a file: name a folder to write the checkpoint to.")
    refuse_adapter(Path(base))
    processor = HERProcessor.attach(base, bare_prefill=bare_prefill)
    source = _model_files(base)
    if source is not None:
        check_embeddings(processor.tokenizer, read_config(source), str(base))
    if out.exists() and any(out.iterdir()):
        if _is_same(out, processor, source):
            return processor
        raise FileExistsError(f"{out} {_contents(out)}: name an empty or new folder, or remove it first.")
    with new_folder(out) as draft:
        if source is not None:
            for file in _files(source):
                shutil.copyfile(file, draft / file.name)
            processor.generation_config(_generation_config(source)).save_pretrained(draft)
        processor.save_pretrained(draft)
        if source is not None:
            copy_companions(companions_of(source), draft)
    return processor


def _is_same(out: Path, processor: HERProcessor, source: Path | None) -> bool:
    """Whether `out` already is what would be written: same templates, model files of the same names and contents."""
    if not (out / "processor_config.json").is_file():
        return False
    wanted = _files(source) if source else []
    if [file.name for file in _files(out)] != [file.name for file in wanted]:
        return False
    found, new = load_tokenizer(out), processor.tokenizer
    if (found.chat_template, found.response_template) != (new.chat_template, new.response_template):
        return False
    if found.get_vocab() != new.get_vocab():
        return False
    # Sizes are not enough: all fine-tunes of one base have the same.
    return all(filecmp.cmp(file, out / file.name, shallow=False) for file in wanted)


def refuse_adapter(folder: Path) -> None:
    """Refuses a folder that holds a LoRA adapter, whose weights are no model.

    Raises:
        `ValueError`: If it does; the message names the command that merges it.
    """
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"{folder} holds a LoRA adapter ({ADAPTER}), not a model that can be served by itself: merge it first "
            "(her-hf merge ADAPTER DIR), and attach to the merged folder if it has no HER template yet."
        )


def _contents(out: Path) -> str:
    """What an output folder that cannot be used holds, for the error."""
    if (out / "processor_config.json").is_file():
        return "holds another checkpoint with a processor"
    if (out / "config.json").is_file():
        return "holds a model"
    return f"holds other files ({min(path.name for path in out.iterdir())}, …)"


def _model_files(base: str | PathLike[str]) -> Path | None:
    """Local folder with the model's files; `None` if the base is a tokenizer alone."""
    folder = Path(base)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        patterns = [*MODEL_FILES, PROCESSOR, "generation_config.json", ADAPTER]
        folder = Path(snapshot_download(str(base), allow_patterns=patterns))
        refuse_adapter(folder)
    if any(folder.glob(WEIGHTS[0])):
        return folder
    if not (folder / "config.json").is_file():
        return None
    raise FileNotFoundError(
        f"{base} has a config.json but no *.safetensors file: only that weight format is copied. Convert the weights "
        "first (load the model and call save_pretrained)."
    )


def _files(folder: Path) -> list[Path]:
    found = {file for pattern in MODEL_FILES for file in folder.glob(pattern) if file.is_file()}
    return sorted(found, key=lambda file: file.name)


def _generation_config(folder: Path) -> GenerationConfig | None:
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").is_file() else None
