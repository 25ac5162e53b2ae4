"""The `evaluate` modules in `spaces/` as plain functions from plain values to figures.

Dialogues, scenes, seeds and judgements are JSON values (or JSON text), in lists of the same length and order. Errors
name the position of the value. A missing judgement is counted and excluded from every mean.
"""

from .coser import coser_gca
from .form import dual_layer
from .judges import Judge
from .minimax import minimax_rpb
from .pasted import read_pasted
from .values import JsonColumns, from_json, metric_info, to_json

__all__ = [
    "JsonColumns",
    "Judge",
    "coser_gca",
    "dual_layer",
    "from_json",
    "metric_info",
    "minimax_rpb",
    "read_pasted",
    "to_json",
]
