"""Servers for a checkpoint: which engine, with which flags, started, awaited and ended."""

from .launch import ENGINES, Launch, ServeSettings, plan_launch
from .model import ServedModel, read_model
from .run import free_port, last_lines, running
from .usage import how_to_call

__all__ = [
    "ENGINES",
    "Launch",
    "ServeSettings",
    "ServedModel",
    "free_port",
    "how_to_call",
    "last_lines",
    "plan_launch",
    "read_model",
    "running",
]
