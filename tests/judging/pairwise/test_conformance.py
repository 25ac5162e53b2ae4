"""What the original code for reward data returned (../shared/reference/conformance.json) against ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from her_hf.data.preferences.pairing import kept_because
from her_hf.judging import PairVerdict, Verdict, parse_verdict
from her_hf.judging.pairwise.pairs import Compared
from tests.support.paths import SHARED

FILE = SHARED / "reference" / "conformance.json"


def entries(prefix: str) -> list[Any]:
    if not FILE.exists():
        return [pytest.param({}, marks=pytest.mark.skip(reason="../shared is not here"))]
    return [entry for entry in json.loads(FILE.read_text(encoding="utf-8")) if entry["id"].startswith(prefix)]


@pytest.mark.parametrize("entry", entries("P-XBR"))
def test_better_response(entry: dict[str, Any]) -> None:
    found = parse_verdict(entry["input"])
    assert (found.verdict if isinstance(found, Verdict) else None) == entry["original_output"]


@pytest.mark.parametrize("entry", entries("P-CHQ"))
def test_quality_of_a_label(entry: dict[str, Any]) -> None:
    winners, least = entry["input"]
    compared = tuple(Compared(str(at), winner) for at, winner in enumerate(winners))
    kept = kept_because(PairVerdict("cand_1", principles=compared), least) is None
    assert kept == entry["original_output"][0]
