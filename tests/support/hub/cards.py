"""The rules of the Hub for the YAML in front of a README: what it refuses a commit for, and what it warns about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_DATASET = re.compile(r"(?:[\w.-]+/)?[\w.-]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]+)?|code|multilingual")
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_SDKS = ("gradio", "docker", "static")


def front_matter(text: str) -> dict[str, Any]:
    """The metadata of a card; empty if it has none.

    Raises:
        `ValueError`: If it is not YAML, or not a mapping.
    """
    found = re.match(r"---\r?\n(.*?)\r?\n---\s*(?:\n|$)", text, re.DOTALL)
    if not found:
        return {}
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"YAML Metadata Error: {error}") from error
    if not isinstance(data, dict):
        raise ValueError("YAML Metadata Error: metadata must be an object")
    return data


def check_card(kind: str, text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a card, as `POST /api/validate-yaml` gives them."""
    try:
        data = front_matter(text)
    except ValueError as error:
        return [str(error)], []
    if not data:
        return (['"sdk" is required'] if kind == "space" else []), ["empty or missing yaml metadata in repo card"]
    return list(_space(data) if kind == "space" else _card(data)), []


def _card(data: dict[str, Any]) -> Iterator[str]:
    yield from _strings(data, "base_model", _ID, "Use a model id from https://hf.co/models.")
    yield from _strings(data, "datasets", _DATASET, "Use a dataset id from https://hf.co/datasets.")
    yield from _strings(data, "language", _LANGUAGE, "It must be an ISO 639 code.")
    for name in ("tags", "license", "task_categories", "pipeline_tag", "library_name"):
        yield from _strings(data, name, re.compile(r"\S.*"), "It must be a string, or a list of strings.")
    for number, model in enumerate(data.get("model-index") or []):
        for row, result in enumerate(model.get("results") or []):
            where = f"model-index[{number}].results[{row}]"
            for part, keys in (("task", ("type",)), ("dataset", ("name", "type"))):
                lost = [key for key in keys if not isinstance((result.get(part) or {}).get(key), str)]
                yield from (f'"{where}.{part}.{key}" is required' for key in lost)
            if not result.get("metrics"):
                yield f'"{where}.metrics" is required'
            for metric in result.get("metrics") or []:
                if not {"type", "value"} <= set(metric):
                    yield f'"{where}.metrics" need "type" and "value"'
        if not model.get("name"):
            yield f'"model-index[{number}].name" is required'
    for number, config in enumerate(data.get("configs") or []):
        if not isinstance(config, dict) or not isinstance(config.get("config_name"), str):
            yield f'"configs[{number}].config_name" is required'


def _space(data: dict[str, Any]) -> Iterator[str]:
    if data.get("sdk") not in _SDKS:
        yield f'"sdk" must be one of {list(_SDKS)}'
    for name in ("colorFrom", "colorTo"):
        if name in data and data[name] not in _COLOURS:
            yield f'"{name}" must be one of {list(_COLOURS)}'
    if len(str(data.get("short_description") or "")) > 60:
        yield '"short_description" length must be less than or equal to 60 characters long'
    if "pinned" in data and not isinstance(data["pinned"], bool):
        yield '"pinned" must be a boolean'
    if "python_version" in data and not re.fullmatch(r"3\.\d+(?:\.\d+)?", str(data["python_version"])):
        yield '"python_version" must be a version of Python'
    yield from _strings(data, "models", _ID, "Use a model id from https://hf.co/models.")
    yield from _strings(data, "datasets", _DATASET, "Use a dataset id from https://hf.co/datasets.")
    yield from _strings(data, "tags", re.compile(r"\S.*"), "It must be a list of strings.")


def _strings(data: dict[str, Any], name: str, allowed: re.Pattern[str], remedy: str) -> Iterator[str]:
    if name not in data:
        return
    values = data[name] if isinstance(data[name], list) else [data[name]]
    for value in values:
        if not isinstance(value, str) or not allowed.fullmatch(value):
            yield f'"{name}" with value "{value}" is not valid. {remedy}'
