"""Figures of verdicts about pairs, on values worked out by hand."""

from __future__ import annotations

import pytest

from her_hf.scoring.reward import Judged, accuracy_figures, agreement_figures, calibration, cohen_kappa, order_figures

PAIRS = [
    Judged("cand_1", "cand_1", ("cand_1", "cand_1"), 0.9),
    Judged("cand_2", "cand_2", ("cand_2", "cand_2"), 0.7),
    Judged("cand_1", "cand_2", ("cand_2", "cand_2"), 0.7),
    Judged("cand_2", "tie", ("cand_1", "cand_2"), 0.5),
    Judged("tie", "tie", ("tie", "tie"), 1.0),
    Judged("cand_1", None, ("cand_1", None), None),
    Judged(None, "cand_1", ("cand_1", "cand_1"), 0.8),
]


def test_accuracy_and_ties() -> None:
    found = accuracy_figures(PAIRS)
    assert found["pairs"] == 5 and found["accuracy"] == pytest.approx(3 / 5)
    assert found["accuracy_decided"] == pytest.approx(2 / 3)
    assert found["half_credit"] == pytest.approx(3.5 / 5)
    assert found["ties"] == {"judge": pytest.approx(2 / 5), "labels": pytest.approx(1 / 5)}
    assert found["interval"] == [pytest.approx(0.2307, abs=1e-4), pytest.approx(0.8824, abs=1e-4)]


def test_place() -> None:
    found = order_figures(PAIRS)
    assert found["position_consistency"] == pytest.approx(5 / 6)
    # First order shows cand_1 first, the second cand_2; of 11 single verdicts that are no tie, these name the first.
    assert found["first_position"] == pytest.approx(7 / 11)
    assert found["per_order_accuracy"] == pytest.approx(8 / 11)


def test_without_a_pair_there_is_no_figure() -> None:
    lost = [Judged("cand_1", None), Judged(None, "tie")]
    found = accuracy_figures(lost)
    assert found["pairs"] == 0 and found["accuracy"] is None and found["interval"] is None
    assert order_figures([]) == dict.fromkeys(("position_consistency", "first_position", "per_order_accuracy"))
    assert agreement_figures(lost) == {"kappa": None, "alpha": None}
    assert calibration(lost)["error"] is None


@pytest.mark.parametrize(
    ("pairs", "kappa"),
    [
        ([("a", "a"), ("b", "b")], 1.0),
        ([("a", "b"), ("b", "a")], -1.0),
        ([("a", "a"), ("b", "b"), ("a", "b"), ("b", "b")], 0.5),
        ([("a", "a"), ("a", "a")], None),
        ([], None),
    ],
)
def test_kappa(pairs: list[tuple[str, str]], kappa: float | None) -> None:
    assert cohen_kappa(pairs) == (kappa if kappa is None else pytest.approx(kappa))


def test_alpha_of_full_agreement() -> None:
    same = [Judged("cand_1", "cand_1"), Judged("cand_2", "cand_2")]
    assert agreement_figures(same) == {"kappa": 1.0, "alpha": 1.0}


def test_calibration() -> None:
    found = calibration(PAIRS)
    assert [one["count"] for one in found["bins"]] == [0, 0, 1, 2, 2]
    assert found["bins"][3] == {
        "low": 0.6, "high": 0.8, "count": 2, "confidence": pytest.approx(0.7), "accuracy": 0.5,
    }  # fmt: skip
    # |0.5 - 0| + 2 |0.7 - 0.5| + 2 |0.95 - 1|, over five
    assert found["error"] == pytest.approx((0.5 + 0.4 + 0.1) / 5)
