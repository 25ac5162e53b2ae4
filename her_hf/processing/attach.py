"""Attaching the method to a base: to a tokenizer, or to a whole model folder."""

from __future__ import annotations

import copy
import filecmp
import shutil
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from her_hf.durable import new_folder, read_json

from .companions import COMPANIONS, PROCESSOR, companions_of, copy_companions
from .embeddings import check_embeddings
from .frames import find_frame, token_id
from .response import response_template
from .templates import SCENE, chat_template, scene_template

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

    from .processor import HERProcessor

ADAPTER = "adapter_config.json"
_LEGACY = "chat_template.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
MODEL_FILES = (*WEIGHTS, *COMPANIONS, "config.json", "base_source.json", "LICENSE*", "NOTICE*", "USE_POLICY*")
"""What a model folder hands on as it is; tokenizer, templates, processor and generation config are written anew."""


def attach_tokenizer(
    base: PreTrainedTokenizerBase | HERProcessor | str | PathLike[str], *, bare_prefill: bool = False
) -> PreTrainedTokenizerBase:
    """A tokenizer with HER's templates in the place of its own. See [`HERProcessor.attach`].

    The end-of-turn token becomes the tokenizer's `eos_token`, which trainers and servers stop at. A padding token is
    set only if there is none. Other named templates of the base (`tool_use`, …) go: they would bypass the rules.
    """
    if isinstance(base, (str, PathLike)):
        tokenizer = load_tokenizer(base)
    else:
        tokenizer = copy.deepcopy(getattr(base, "tokenizer", base))
    frame, bos = find_frame(tokenizer)
    tokenizer.chat_template = {
        "default": chat_template(frame, bos=bos, bare_prefill=bare_prefill),
        SCENE: scene_template(),
    }
    tokenizer.response_template = response_template(frame)
    if tokenizer.pad_token is None:
        spare = next((token for token in frame.other_ends if token_id(tokenizer, token) is not None), frame.turn_end)
        tokenizer.pad_token = spare
    tokenizer.eos_token = frame.turn_end
    tokenizer._set_processor_class("HERProcessor")  # so that a trainer's save of the tokenizer alone says so too
    return tokenizer


def load_tokenizer(base: str | PathLike[str], revision: str | None = None) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a folder or Hub id, with the chat template that older processors keep in their own file.

    Raises:
        `ValueError`: If there is none; the message says what was tried.
    """
    from transformers import AutoTokenizer
    from transformers.utils import cached_file

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base, revision=revision)
        legacy = None
        if tokenizer.chat_template is None:
            legacy = cached_file(base, _LEGACY, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no tokenizer could be loaded from {str(base)!r}: name a local folder with tokenizer files, or the id of "
            f"a model on the Hub that is reachable from here ({error})."
        ) from error
    if legacy is not None:
        tokenizer.chat_template = read_json(legacy).get("chat_template")
    return tokenizer


def read_config(base: str | PathLike[str], revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a model, by transformers' own code alone.

    Raises:
        `ValueError`: If transformers cannot read it; the message says what to do.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"the config.json of {base} cannot be read by transformers without code from elsewhere "
            f"({str(error)[:200]}): take a model of an architecture that this transformers knows, or update it"
        ) from error


def attach_model(base: str | PathLike[str], out: str | PathLike[str], *, bare_prefill: bool = False) -> HERProcessor:
    """Writes a checkpoint folder that carries the method: the weights of `base` and everything HER adds.

    Weights are copied, not loaded. A base without weights (a tokenizer alone) gives a folder without weights.

    Args:
        base (`str` or `PathLike`): Local folder or Hub id.
        out (`str` or `PathLike`): Folder to write; empty or missing. It appears under this name only when complete.
            If it holds this very checkpoint already, it is left as it is.
        bare_prefill (`bool`, *optional*, defaults to `False`): See [`HERProcessor.attach`].

    Returns:
        `HERProcessor`: The processor of the new checkpoint.

    Raises:
        `FileExistsError`: If `out` is a file or holds anything else.
        `ValueError`: If the base is a LoRA adapter, if transformers cannot read its config.json, if its tokenizer
            has tokens beyond the model's embeddings, or if it is not fit; see [`HERProcessor.attach`].
        `FileNotFoundError`: If the base has weights, but none as safetensors.

    Example (not run: it needs a model):

    ```python
    >>> attach_model("HuggingFaceTB/SmolLM2-135M-Instruct", "outputs/smollm2-her")
    ```
    """
    from .processor import HERProcessor

    out = Path(out)
    if out.is_file():
        raise FileExistsError(f"{out} is a file: name a folder to write the checkpoint to.")
    _refuse_adapter(Path(base))
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
    """Whether `out` is what would be written: the same templates, and model files of the same names and contents."""
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
    # Sizes tell nothing: all fine-tunes of one base have the same.
    return all(filecmp.cmp(file, out / file.name, shallow=False) for file in wanted)


def _refuse_adapter(folder: Path) -> None:
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"{folder} holds a LoRA adapter ({ADAPTER}), not a model that can be served alone: merge it first "
            "(her-hf merge ADAPTER OUT), and attach to the merged folder if it has no HER template yet."
        )


def _contents(out: Path) -> str:
    """What an unfit output folder holds, for the error."""
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
        _refuse_adapter(folder)
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
