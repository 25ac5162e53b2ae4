"""What is served: a checkpoint folder, a GGUF file or a Hub id, checked before an engine spends a minute on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from her_hf.dual_layer import Layer
from her_hf.durable import read_json
from her_hf.extras import missing_library
from her_hf.references import is_hub_id

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "spiece.model")
_GIVE = "Give a folder written by `save_pretrained`, a GGUF file or a Hub id."
_SHOWN = 8
"""How many names an error lists."""


@dataclass(frozen=True)
class ServedModel:
    """A model that an engine can be started with.

    Args:
        source (`str`): What the engine is given: an absolute path, or the Hub id.
        name (`str`): What the server calls it: the folder's name, the file's without its suffix, or the Hub id.
        kind (`str`): `"folder"`, `"gguf"` or `"hub"`.
        config (`Mapping[str, Any]`): `config.json` of a folder, else empty.
        notes (`tuple[str, ...]`): What the user should know of it.
        parsed (`bool`, *optional*, defaults to `True`): Whether its tokenizer has a response template, by which an
            engine can return system thinking separately; assumed of a Hub id.
    """

    source: str
    name: str
    kind: Literal["folder", "gguf", "hub"]
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    parsed: bool = True


def read_model(reference: str, *, needs_template: bool = True) -> ServedModel:
    """Checks that a reference names something that can be served.

    Args:
        reference (`str`): A checkpoint folder, a GGUF file or a Hub id (`owner/name`). A Hub id is not looked up.
        needs_template (`bool`, *optional*, defaults to `True`): Whether a model without a chat template is refused;
            not if the user gives the engine one.

    Returns:
        [`ServedModel`]

    Raises:
        `FileNotFoundError`: If there is no such folder or file, and it is no Hub id either.
        `ValueError`: If the folder is no complete checkpoint, the file is no GGUF, or there is no chat template.
        `ImportError`: If the library that reads GGUF files is missing.
    """
    if reference.startswith(("http://", "https://")):
        raise ValueError(f"{reference} is a URL, so it is served already: her-hf chat {reference}")
    path = Path(reference).expanduser()
    if path.is_dir():
        return _folder(path.resolve(), needs_template)
    if path.is_file():
        return _gguf(path.resolve(), needs_template)
    if is_hub_id(reference) and "/" in reference and path.suffix != ".gguf":
        return ServedModel(reference, reference, "hub", {})
    raise FileNotFoundError(f"There is no folder or file {reference}, and a Hub id has the form owner/name. {_GIVE}")


def _folder(folder: Path, needs_template: bool) -> ServedModel:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise ValueError(_why_no_checkpoint(folder))
    config = read_json(config_file)
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"{config_file} names no model_type, so {folder} is no checkpoint of a model. {_GIVE}")
    _check_weights(folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ValueError(
            f"{folder} has no tokenizer (looked for {', '.join(_TOKENIZERS)}): save it there with "
            "`tokenizer.save_pretrained`."
        )
    template = _template_of(folder)
    if template is None and needs_template:
        raise ValueError(
            f"{folder} has no chat template, so every chat request would be refused. `her-hf attach {folder} OUT` "
            "writes a copy with HER's template."
        )
    notes = _template_notes(folder, template)
    return ServedModel(str(folder), folder.name, "folder", config, notes, _has_response_template(folder))


def _has_response_template(folder: Path) -> bool:
    file = folder / "tokenizer_config.json"
    return file.is_file() and bool(read_json(file).get("response_template"))


def _why_no_checkpoint(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    if "adapter_config.json" in names:
        return (
            f"{folder} is a LoRA adapter without its base. Merge them (`her-hf merge {folder} OUT`) and serve OUT, or "
            f"serve the base with vLLM: her-hf serve BASE -- --enable-lora --lora-modules {folder.name}={folder}"
        )
    said = f"{folder} is no checkpoint: it has no config.json"
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        return f"{said}. Name one of its GGUF files: {_listed(ggufs)}."
    if checkpoints := [name for name in names if (folder / name / "config.json").is_file()]:
        return f"{said}. Name one of its folders that has one: {_listed(checkpoints)}."
    return f"{said} ({'found: ' + _listed(names) if names else 'it is empty'}). {_GIVE}"


def _check_weights(folder: Path) -> None:
    if (folder / _INDEX).is_file():
        shards = read_json(folder / _INDEX).get("weight_map")
        names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(
                f"{folder} lacks {len(missing)} of the {len(names)} weight files that {_INDEX} names: "
                f"{_listed(missing)}. Copy or download them again."
            )
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise ValueError(f"{folder} has no weights (looked for {' and '.join(_WEIGHTS)}). {_GIVE}")


def _template_of(folder: Path) -> str | None:
    """The chat template of a folder, from where transformers looks for it."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        if not (folder / name).is_file():
            continue
        found = read_json(folder / name).get("chat_template")
        if isinstance(found, list):  # several, by name
            found = next((one.get("template") for one in found if one.get("name") == "default"), None)
        if isinstance(found, str):
            return found
    return None


def _gguf(file: Path, needs_template: bool) -> ServedModel:
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ValueError(f"{file} is a file, but no GGUF (it does not begin with GGUF). {_GIVE}")
    if not needs_template:
        return ServedModel(str(file), file.stem, "gguf", {})
    template = _template_of_gguf(file)
    if template is None:
        raise ValueError(
            f"{file} has no chat template (tokenizer.chat_template), and llama.cpp would take a general one, which "
            "keeps system thinking in the history and shows everyone's thoughts. Convert a checkpoint that has HER's "
            "(`her-hf attach`), or give llama-server one: her-hf serve FILE -- --chat-template-file FILE"
        )
    return ServedModel(str(file), file.stem, "gguf", {}, _template_notes(file, template))


def _template_of_gguf(file: Path) -> str | None:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise missing_library("reading the chat template of a GGUF", error) from error
    try:
        field = GGUFReader(file).get_field("tokenizer.chat_template")
        found = None if field is None else field.contents()
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file} cannot be read as a GGUF ({type(error).__name__}: {str(error)[:200]}): it may have been cut off. "
            "Copy or download it again."
        ) from error
    return found if isinstance(found, str) else None


def _template_notes(place: Path, template: str | None) -> tuple[str, ...]:
    if template is None or Layer.SYSTEM_THINKING.value in template:
        return ()
    return (
        f"{place.name} does not have HER's chat template: system thinking stays in the history, and everyone's "
        "thoughts are visible. `her-hf attach` writes a folder with it.",
    )


def _listed(names: Iterable[str]) -> str:
    found = [json.dumps(name, ensure_ascii=False)[1:-1][:80] for name in names]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
