"""CoSER's given-circumstance acting as an `evaluate` metric, computed by her_hf."""

from typing import Any

import evaluate

try:
    from her_hf import metrics as modules
except ImportError as error:
    raise ImportError(
        f"coser_gca computes with her_hf, which cannot be imported ({error}). It is on no package index yet; "
        "install it with: pip install 'PATH_TO_CHECKOUT[eval]'"
    ) from error

_DESCRIPTION = """
Scores dialogues played by language models from scenes of books, in four dimensions judged by a critic: Storyline
Consistency, Anthropomorphism, Character Fidelity, Storyline Quality. Each starts at 100 and loses 5 points for each
point of severity beyond 0.3 per turn by a character.
"""

_INPUTS = """
Args:
    predictions: for each scene the turns, a list of {"name", "text"}, or a row of her_hf's dialogues.jsonl
    references: for each scene a row of CoSER's test set
    judgements: for each scene {"SC": flaws, "AN": flaws, "CF": flaws, "SQ": flaws}; flaws is a list of
        {"instance", "type", "severity"}, the judge's answer as text, or None (missing)
    judge: instead of judgements, the judge to call: URL of an OpenAI-compatible server, folder or Hub id
    judge_model: its name on the server
    thoughts: "coser" (default) removes inner thoughts before judging, "her" keeps them
    notation: notation of the turns, "her" (default: tags) or "coser" ([thought], (action))
    seed, ledger, concurrency, show: options of the judge's calls
Returns:
    SC, AN, CF, SQ, avg: 0 to 100, or None
    missing, missing_by_cause: missing judgements, which are excluded from every mean
    bleu, rouge_l: overlap with the book's own dialogue, 0 to 1
    intervals: 95% bootstrap over scenes
    thoughts: the setting above
    cases: one per scene, with its scores and flaws
"""

_CITATION = """
@inproceedings{wang2025coser,
  title={CoSER: Coordinating LLM-Based Persona Simulation of Established Roles},
  author={Wang, Xintao and others},
  booktitle={International Conference on Machine Learning},
  year={2025}
}
"""


class CoserGca(modules.JsonColumns, evaluate.Metric):
    """See `her_hf.metrics.coser_gca`."""

    def _info(self) -> evaluate.MetricInfo:
        return modules.metric_info(_DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions: list[str], references: list[str], **options: Any) -> dict[str, Any]:
        return modules.coser_gca(modules.from_json(predictions), modules.from_json(references), **options)
