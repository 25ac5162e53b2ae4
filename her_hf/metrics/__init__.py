"""What the `evaluate` modules in `spaces/` compute: plain functions from plain values to figures.

Dialogues, scenes, seeds and judgements come as JSON has them (or as text of it), in lists of one length and order.
What is wrong with them is said with its place. A judgement that is missing is counted and left out of every mean.
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
