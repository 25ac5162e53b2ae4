"""Dual-layer form of role-play replies as an `evaluate` metric, computed by her_hf."""

from typing import Any

import evaluate

try:
    from her_hf import metrics as modules
except ImportError as error:
    raise ImportError(
        f"dual_layer computes with her_hf, which cannot be imported ({error}). It is on no package index yet; "
        "install it with: pip install 'PATH_TO_CHECKOUT[eval]'"
    ) from error

_DESCRIPTION = """
Measures the form of dual-layer role-play replies, without a judge: whether they are well-formed and stay in role,
whether thinking leaks into speech, how varied the patterns of thinking, acting and speaking are, how much replies
repeat each other, and how long each layer is.
"""

_INPUTS = """
Args:
    predictions: replies as text, system thinking inline, its opening tag included
    references: for each reply {"speaker": who should speak} and, optional, "names" (the cast), "ended" (whether the
        model itself ended its turn) and "notation" ("her" or "coser")
Returns:
    replies: count
    well_formed, own_role, ended, visible, leak_rate: shares of replies, 0 to 1; ended is None if a reference lacks it
    pattern_entropy (nats), distinct_patterns, top_pattern, top_share: T thinks, A acts, S speaks
    self_bleu: 0 to 1, lower is more varied; None for a single reply
    characters: mean length of each layer
    issues: number of replies with each parsing issue
    intervals: 95% Wilson, of the shares
    cases: one per reply
"""

_CITATION = """
@article{du2026her,
  title={HER: Human-like Reasoning and Reinforcement Learning for LLM Role-playing},
  author={Du, Chengyu and Wang, Xintao and others},
  journal={arXiv preprint arXiv:2601.21459},
  year={2026}
}
"""


class DualLayer(modules.JsonColumns, evaluate.Metric):
    """See `her_hf.metrics.dual_layer`."""

    def _info(self) -> evaluate.MetricInfo:
        return modules.metric_info(_DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return modules.dual_layer(modules.from_json(predictions), modules.from_json(references))
