"""her_hf: dual-layer role-play (HER) at home in the Hugging Face ecosystem.

Names are lazy: `import her_hf` loads none of transformers, torch, trl, gradio or vllm.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "parse_turn": "dual_layer",
    "Turn": "dual_layer",
    "TurnStream": "dual_layer",
    "Segment": "dual_layer",
    "Layer": "dual_layer",
    "View": "dual_layer",
    "Scene": "scenes",
    "Character": "scenes",
    "load_scenes": "scenes",
    "HERProcessor": "processing",
}

__all__ = [
    "Character",
    "HERProcessor",
    "Layer",
    "Scene",
    "Segment",
    "Turn",
    "TurnStream",
    "View",
    "load_scenes",
    "parse_turn",
]

if TYPE_CHECKING:
    from her_hf.dual_layer import Layer, Segment, Turn, TurnStream, View, parse_turn
    from her_hf.processing import HERProcessor
    from her_hf.scenes import Character, Scene, load_scenes


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {sorted(_HOMES)}")
    try:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        from .extras import missing_library

        raise missing_library(f"{__name__}.{name}", error) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
