"""Pairs: their rows, and their two orders."""

from __future__ import annotations

from her_hf.judging import Pair
from her_hf.judging.pairwise.pairs import swap_names
from tests.support.pairs import a_pair


def test_a_pair_survives_its_row() -> None:
    found = Pair.from_row(a_pair().to_row())
    assert found == a_pair()
    assert isinstance(found, Pair) and found.extra == {"kind": "assistant_voice"} and found.character == "Jo"


def test_the_other_order_turns_everything() -> None:
    turned = a_pair().swapped()
    assert (turned.cand_1, turned.label) == (a_pair().cand_2, "cand_2")
    assert [one.winner for one in turned.principles] == ["cand_2", "cand_2", "tie"]
    assert turned.evidence == 'cand_1 offers help: "How may I help"'
    assert turned.swapped() == a_pair() and turned.key != a_pair().key
    assert a_pair(label="tie").swapped().label == "tie"
    assert swap_names("cand_1 beats cand_2") == "cand_2 beats cand_1"
