"""MiniMax's Role-Play Bench, re-implemented as an `evaluate` metric and computed by her_hf."""

from typing import Any

import evaluate

try:
    from her_hf import metrics as modules
except ImportError as error:
    raise ImportError(
        f"minimax_rpb computes with her_hf, which cannot be imported ({error}). It is on no package index yet; "
        "install it with: pip install 'PATH_TO_CHECKOUT[eval]'"
    ) from error

_DESCRIPTION = """
Scores long role-play sessions by their clear errors. A judge searches chunks of 20 turns for errors of the character's
side in six columns; each column starts at 100 and loses points for each error. The columns form three pillars, worlds,
stories and preferences, with weights 0.50, 0.25 and 0.25. The scale is her_hf's own: do not compare it with MiniMax's
published scores.
"""

_INPUTS = """
Args:
    predictions: for each session its turns, a list of {"role": "ai" or "user", "text"}, starting with the two of the
        opening, or a row of her_hf's dialogues.jsonl; or, if already judged, by chunk a list of errors or None
    references: for each session its seed, a row of MiniMaxAI/role-play-bench, or None; a judge needs them
    judgements: for each session by chunk a list of {"column", "severity"}, the judge's answer as text, or None
        (missing)
    judge: instead of judgements, the judge to call: URL of an OpenAI-compatible server, folder or Hub id
    judge_model: its name on the server
    chunk: number of turns that are judged together, 20
    seed, ledger, concurrency, show: options of the judge's calls
Returns:
    overall, worlds, stories, preferences, basics_score, logic_score, knowledge_score, diversity_score,
    content_logic_score, interaction_score: 0 to 100, or None
    missing, missing_by_cause: chunks without a judgement, which are excluded from every mean
    seeds, sessions, missing_sessions: number of seeds and sessions with a score, and of sessions without
    intervals: 95% bootstrap over seeds
    curve: quality by turn number
    scale: which scores can be compared
    cases: one per session, with its scores and errors by chunk
"""

_CITATION = r"""
@misc{minimax2026rpb,
  title={Role-Play Bench},
  author={MiniMax},
  year={2026},
  howpublished={\url{https://huggingface.co/datasets/MiniMaxAI/role-play-bench}}
}
"""


class MinimaxRpb(modules.JsonColumns, evaluate.Metric):
    """See `her_hf.metrics.minimax_rpb`."""

    def _info(self) -> evaluate.MetricInfo:
        return modules.metric_info(_DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions: list[str], references: list[str], **options: Any) -> dict[str, Any]:
        return modules.minimax_rpb(modules.from_json(predictions), modules.from_json(references), **options)
