"""CoSER's formula and means: every number of reference/coser_gca.md, and what must not become a number."""

import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import her_hf.scoring
from her_hf.scoring.coser import case_score, coser_score, group_means, read_severity, summarize_cases
from her_hf.scoring.coser_dimensions import DIMENSIONS, FLAW_TYPES
from tests.support.paths import ROOT

SEVERITIES = st.lists(st.integers(1, 10), max_size=30)
TURNS = st.integers(0, 60)


def flaws(*severities: Any) -> list[dict[str, Any]]:
    return [{"instance": "x", "type": "y", "severity": severity} for severity in severities]


@pytest.mark.parametrize(
    ("severities", "turns", "score"),
    [
        ([3, 3, 2], 10, 75.0),
        ([2, 3, 2, 3], 11, 66.5),
        ([10, 10], 12, 18.0),
        ([5, 5, 5, 5, 5], 0, 0.0),
        ([], 0, 100.0),
        ([], 50, 100.0),  # a long dialogue does not go over the top
        ([3, "4", 2.5], 5, 60.0),  # numbers in strings and fractions are read
    ],
)
def test_the_formula(severities: list[Any], turns: int, score: float) -> None:
    assert coser_score(flaws(*severities), turns) == score


def test_an_absent_severity_counts_as_one() -> None:
    assert coser_score([{"type": "Emotional Depth"}, {"severity": 1}], 0) == 90.0


def test_it_is_where_the_contract_says_and_needs_only_the_standard_library() -> None:
    assert her_hf.scoring.coser_score is coser_score
    code = "import sys, her_hf.scoring; print(*{name.partition('.')[0] for name in sys.modules})"
    root = ROOT
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"__main__", "her_hf"}


@pytest.mark.parametrize(
    ("value", "severity"), [(3, 3.0), (2.5, 2.5), ("4", 4.0), (" 4.0 ", 4.0), ("+.5", 0.5), (10, 10.0), (0.1, 0.1)]
)
def test_severities_that_are_read(value: object, severity: float) -> None:
    assert read_severity({"severity": value}) == severity


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, None, 0, -3, 10.5, 11, math.nan, math.inf, -math.inf, 10**400),
        *("0", "-1", "11", "high", "4/5", "", "nan", "1e9", "9" * 400, "1_0", "¹⁰", "١٠"),
        *([3], {"value": 3}),
    ],
)
def test_severities_that_make_the_judgement_missing(value: object) -> None:
    with pytest.raises(ValueError, match=r"severity must be .* got .* count the judgement as missing"):
        read_severity({"severity": value})
    with pytest.raises(ValueError, match=r"flaw 1: severity must be"):
        coser_score(flaws(3, value), 10)


@pytest.mark.parametrize(
    "key", ["Severity Score", "severity (1-10)", "**severity**", "severity\u200b", "严重程度", "flaw"]
)
def test_a_severity_under_another_key_is_not_absent(key: str) -> None:
    with pytest.raises(ValueError, match=r"severity must be given, got .* instead; count the judgement as missing"):
        read_severity({"instance": "x", key: 10})
    assert read_severity({"instance": "x", "reason": "y", "Severity": 10, key: 3}) == 10.0
    assert read_severity({"instance": "x", "reason": "y"}) == 1.0


@pytest.mark.parametrize(
    ("found", "turns", "message"),
    [
        (["bad"], 0, "flaw 0 must be an object with a severity, got 'bad'"),
        ([{}, None], 0, "flaw 1 must be an object"),
        (None, 0, "flaws must be a list of objects, got NoneType"),
        ({"severity": 3}, 0, "flaws must be a list of objects, got dict"),
        ("none", 0, "flaws must be a list of objects, got str"),
        ([], -1, "character_turns must be an integer of at least 0, got -1"),
        ([], 2.0, "got 2.0"),
        ([], True, "got True"),
        ([], None, "got None"),
    ],
)
def test_what_is_no_judgement(found: Any, turns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        coser_score(found, turns)


@given(SEVERITIES, TURNS)
def test_a_score_is_within_its_range_and_does_not_depend_on_order(severities: list[int], turns: int) -> None:
    score = coser_score(flaws(*severities), turns)
    assert 0 <= score <= 100
    assert coser_score(flaws(*reversed(severities)), turns) == score


@given(SEVERITIES, TURNS, st.integers(1, 10))
def test_another_or_a_worse_flaw_never_helps_and_another_turn_never_hurts(
    severities: list[int], turns: int, severity: int
) -> None:
    score = coser_score(flaws(*severities), turns)
    assert coser_score(flaws(*severities, severity), turns) <= score
    assert coser_score(flaws(*severities), turns + 1) >= score
    if severities and severity >= severities[0]:
        assert coser_score(flaws(severity, *severities[1:]), turns) <= score


def test_dimensions_and_their_flaws_go_together() -> None:
    assert list(DIMENSIONS) == list(FLAW_TYPES) == ["SC", "AN", "CF", "SQ"]
    assert [len(types) for types in FLAW_TYPES.values()] == [1, 4, 4, 2]


FULL = {"SC": 80.0, "AN": 60.0, "CF": 40.0, "SQ": 20.0}
PART = {"SC": 60.0, "AN": None, "CF": 0.0}
NONE: dict[str, float | None] = {}


@pytest.mark.parametrize(("case", "score"), [(FULL, 50.0), (PART, None), (NONE, None), ({**FULL, "SQ": None}, None)])
def test_case_score(case: dict[str, float | None], score: float | None) -> None:
    assert case_score(case) == score


def test_means_leave_out_and_count_what_is_missing() -> None:
    assert summarize_cases([FULL, PART, NONE]) == {
        "scores": {"SC": 70.0, "AN": 60.0, "CF": 20.0, "SQ": 20.0, "avg": 42.5},
        "cases": {"SC": 2, "AN": 1, "CF": 2, "SQ": 1},
        "missing": {"SC": 1, "AN": 2, "CF": 1, "SQ": 2},
    }


def test_without_one_dimension_there_is_no_average() -> None:
    scores = summarize_cases([PART])["scores"]
    assert scores == {"SC": 60.0, "AN": None, "CF": 0.0, "SQ": None, "avg": None}
    assert set(summarize_cases([NONE])["scores"].values()) == {None}


def test_average_is_the_mean_of_the_four_means_not_of_the_cases() -> None:
    cases = [FULL, {**FULL, "SC": 0.0}, {"AN": 0.0}]
    assert summarize_cases(cases)["scores"]["avg"] == pytest.approx((40 + 40 + 40 + 20) / 4)


def test_tables_by_group() -> None:
    tables = group_means([FULL, PART, NONE, FULL], ["ood", "id", "id", "ood"])
    assert list(tables) == ["id", "ood"]
    assert tables["ood"] == summarize_cases([FULL, FULL])
    assert tables["id"]["missing"] == {"SC": 1, "AN": 2, "CF": 1, "SQ": 2}


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([], "at least one case, got none"),
        ([{"avg": 3.0}], r"holds scores of \['SC', 'AN', 'CF', 'SQ'\], got \['avg'\]"),
        ([{"SC": math.nan}], "SC must be a score from 0 to 100, or None if it is missing, got nan"),
        ([{"SC": 101.0}], "got 101.0"),
        ([{"SC": True}], "got True"),
    ],
)
def test_what_is_no_case(cases: list[dict[str, float | None]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize_cases(cases)


def test_each_case_needs_a_group() -> None:
    with pytest.raises(ValueError, match="2 cases and 1 groups"):
        group_means([FULL, PART], ["id"])
