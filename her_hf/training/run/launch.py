"""What every recipe does: read the settings, run, and say in one line what the user can mend."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import yaml
from trl import TrlParser

from her_hf.devices import cpu_cores


def launch(settings: Sequence[type], run: Callable[..., dict[str, Any]]) -> int:
    """Parses the settings from `--config` and the command line, runs, and prints the results.

    Args:
        settings (`Sequence[type]`): Dataclasses; each becomes an argument of `run`, in order.
        run (`Callable`): The run. The last setting is the trainer's.

    Returns:
        `int`: Exit code: 0, or 1 with a line on the error stream.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for client in ("httpx", "httpx2"):
        logging.getLogger(client).setLevel(logging.WARNING)
    try:
        parsed = TrlParser(tuple(settings)).parse_args_and_config()
        _tell_idle_cores(parsed[-1])
        results = run(*parsed)
    except yaml.YAMLError as error:
        print(f"Error: the config is no valid YAML: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError) as error:  # ImportError: an attention or optimizer that is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if parsed[-1].process_index == 0:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    return 0


def _tell_idle_cores(args: Any) -> None:
    """Says what `accelerate launch` does not: it gives a process one thread, and a CPU then trains on one core."""
    cores = cpu_cores()
    if args.device.type == "cpu" and args.world_size == 1 and torch.get_num_threads() == 1 < cores:
        logging.warning(
            f"training on 1 of {cores} CPU cores: accelerate launch --num_cpu_threads_per_process {cores} … uses more"
        )
