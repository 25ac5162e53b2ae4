"""The answers that a reward model is trained to give to labelled pairs, in the published and in the compact form.

`parse_verdict` reads the label back from each. The reasoning is the labeller's own evidence; none is invented.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from .pairs import Compared, Pair
from .principles import load_principles
from .verdicts import MAX_COMPARED


def compact_answer(pair: Pair, *, reasoning: bool = True) -> str:
    """The compact answer: thinking, then one line of JSON with the winner of each principle and the verdict.

    The thinking first states which reply is better, and then why. A small model then decides at the same position as
    in a direct answer, so that learning one form helps the other.

    Args:
        pair ([`~her_hf.judging.Pair`]): A pair with a label.
        reasoning (`bool`, *optional*, defaults to `True`): Whether it thinks first; otherwise it names no principles.

    Raises:
        `ValueError`: If the pair has no label.

    Example:

    ```python
    >>> said = ({"role": "user", "content": "Ann: Tea?"},)
    >>> pair = Pair(prompt=said, cand_1="Bob: Please.", cand_2="Bob: I am an AI.", label="cand_1")
    >>> compact_answer(pair, reasoning=False)
    '{"verdict": "cand_1"}'
    ```
    """
    label = _label(pair)
    if not reasoning:
        return json.dumps({"verdict": label})
    winners = {one.name: one.winner for one in pair.principles[:MAX_COMPARED]}
    answer = json.dumps({"principles": winners, "verdict": label}, ensure_ascii=False)
    better = "They tie." if label == "tie" else f"{label} is better."
    return f"<think>{better} {_thought(pair)}</think>\n{answer}"


def published_answer(pair: Pair, *, reasoning: bool = True) -> str:
    """The published answer, in the wrapper that its prompt asks for.

    Args:
        pair, reasoning: See [`compact_answer`].

    Raises:
        `ValueError`: If the pair has no label.
    """
    label = _label(pair)
    compared = pair.principles[:MAX_COMPARED]
    result = {
        "cand_1": _side(compared, "cand_1"),
        "cand_2": _side(compared, "cand_2"),
        "principle": {f"P{number}": _named(one) for number, one in enumerate(compared, start=1)},
        "analysis": {
            "principle_comparisons": [
                {
                    "principle_name": one.name,
                    "principle_level": _named(one)["principle_level"],
                    "comparison_reason": one.reason,
                    "winner": one.winner,
                }
                for one in compared
            ],
            "overall_analysis": pair.evidence,
            "principle_summary": ", ".join(one.name for one in compared),
        },
        "better_response": label,
    }
    answer = json.dumps({"result": [result]}, ensure_ascii=False)
    return f"<think>{_thought(pair)}</think>\n{answer}" if reasoning else answer


def _label(pair: Pair) -> str:
    if pair.label is None:
        raise ValueError(f"a pair without a label cannot be trained on: got {asdict(pair)['extra'] or pair.key[:12]}")
    return pair.label


def _thought(pair: Pair) -> str:
    return pair.evidence.replace("<", "‹").replace(">", "›").strip()


def _named(one: Compared) -> dict[str, str]:
    """What is known of a principle: everything for one of ours, the name alone for any other."""
    library = load_principles()
    known = library.named(one.name)
    return {
        "principle_name": one.name,
        "dimension_name": library.dimensions[known.dimension] if known else "",
        "principle_level": known.level if known else "",
        "main_content": known.definition.strip() if known else "",
        "reason_for_choosing": one.reason,
    }


def _side(compared: Sequence[Compared], side: str) -> str:
    """What a side does better: the principles that it wins."""
    won = [one.name for one in compared if one.winner == side]
    return f"better at {', '.join(won)}" if won else "wins no principle"
