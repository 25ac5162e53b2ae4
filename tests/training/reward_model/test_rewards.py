"""The reward of a reward model's own training."""

from __future__ import annotations

from typing import Any

import pytest

from her_hf.training.reward_model.rewards import VerdictReward
from tests.support.pairs import compact

THREE = {"A": "cand_1", "B": "cand_1", "C": "tie"}


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        (compact("cand_1", **THREE), 1.2),
        (compact("cand_1"), 1.1),
        (compact("cand_1", A="cand_1", B="cand_1"), 1.1),  # two principles are too few
        (compact("cand_1", A="cand_2", B="cand_2", C="tie"), 1.1),  # the verdict does not follow
        ('{"verdict": "Candidate 1"}', 1.0),  # repaired
        (compact("cand_2", A="cand_2", B="cand_2", C="tie"), 0.2),
        (compact("tie"), 0.1),
        ("cand_1 is better", -1.0),
        ("", -1.0),
        ('{"verdict": "cand_9"}', -1.0),
        ('{"verdict": "cand_1', -1.0),  # cut before its end
    ],
)
def test_one_sum_of_verdict_and_small_terms(text: str, reward: float) -> None:
    message = [{"role": "assistant", "content": text}]
    assert VerdictReward()([text, message], label=["cand_1", "cand_1"]) == pytest.approx([reward, reward])


def test_an_unreadable_answer_is_worse_than_any_that_can_be_read() -> None:
    reward = VerdictReward()
    worst = min(reward([compact("cand_2"), '{"verdict": "tie", "x": 1}'], label=["cand_1"] * 2))
    assert reward(["prose"], label=["cand_1"])[0] < worst
    assert None not in reward(["prose"], label=["cand_1"])


def test_small_terms_never_outweigh_a_verdict() -> None:
    reward = VerdictReward(form=0.2, follows=0.2)
    right = reward(['{"verdict": "A"}'], label=["cand_1"])[0]
    wrong = reward([compact("cand_2", A="cand_2", B="cand_2", C="tie")], label=["cand_1"])[0]
    assert right > wrong


@pytest.mark.parametrize("given", [{"form": -0.1}, {"form": 0.3, "follows": 0.3}, {"unreadable": 0.0}])
def test_weights_out_of_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"small terms|lowest reward"):
        VerdictReward(**given)


def test_metrics_are_logged() -> None:
    seen: dict[str, Any] = {}
    texts = [compact("cand_1"), compact("cand_2"), compact("tie"), "prose"]
    VerdictReward()(texts, label=["cand_1"] * 4, log_metric=seen.__setitem__, prompts=[])
    assert seen == {"verdict/right": 0.25, "verdict/unreadable": 0.25, "verdict/tie": 0.25, "verdict/first": 0.25}
