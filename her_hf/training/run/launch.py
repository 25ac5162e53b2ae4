"""What every recipe does: read its settings, run, and report in one line what the user can fix."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

import torch
import yaml

from her_hf.devices import cpu_cores

from .arguments import RecipeParser

_PRIMITIVES = "32"
"""How many primitives oneDNN keeps on a CPU. It makes several per row length, each with its buffers: with its default
of 1,024, training grew by 0.75 GB in 42 steps; with 32 it takes no longer and grows less."""


def launch(run: Callable[..., dict[str, Any]]) -> int:
    """Parses the settings of a run from `--config` and the command line, runs it, and prints the results.

    Args:
        run (`Callable`): The run. Each parameter is annotated with the dataclass of its settings; the last one is the
            trainer's.

    Returns:
        `int`: Exit code: 0, or 1 with a line on the error stream.

    Example:

    ```python
    >>> if __name__ == "__main__":
    ...     sys.exit(launch(run_sft))
    ```
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _PRIMITIVES)  # read when the first one is made
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for client in ("httpx", "httpx2"):
        logging.getLogger(client).setLevel(logging.WARNING)
    try:
        parsed = RecipeParser(settings_of(run)).parse_args_and_config()
        _warn_of_idle_cores(parsed[-1])
        results = run(*parsed)
    except yaml.YAMLError as error:
        print(f"Error: the config is not valid YAML: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError) as error:  # ImportError: an attention or optimizer that is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if parsed[-1].process_index == 0:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 0


def settings_of(run: Callable[..., Any]) -> tuple[type, ...]:
    """The settings' dataclasses of a run, in the order of its parameters."""
    hints = get_type_hints(run)
    hints.pop("return", None)
    return tuple(hints.values())


def _warn_of_idle_cores(args: Any) -> None:
    """Says what `accelerate launch` does not: it gives a process one thread, and a CPU then trains on one core."""
    cores = cpu_cores()
    if args.device.type == "cpu" and args.world_size == 1 and torch.get_num_threads() == 1 < cores:
        logging.warning(
            f"training on 1 of {cores} CPU cores: accelerate launch --num_cpu_threads_per_process {cores} … uses more"
        )
