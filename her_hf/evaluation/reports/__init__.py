"""Reports of evaluations: Markdown beside its plots, every number from `results.json`."""

from .coser import write_report
from .minimax import write_minimax_report

__all__ = ["write_minimax_report", "write_report"]
