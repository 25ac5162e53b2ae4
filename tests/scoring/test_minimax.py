"""MiniMax-style scores: errors to columns, chunks to sessions, runs to seeds."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from her_hf.scoring.minimax import (
    COLUMNS,
    PENALTIES,
    PILLARS,
    WEIGHTS,
    chunk_scores,
    curve,
    overall,
    pillars,
    seed_columns,
    session_scores,
    summarize_sessions,
)

ERRORS = st.lists(
    st.fixed_dictionaries({"column": st.sampled_from(COLUMNS), "severity": st.sampled_from(list(PENALTIES))}),
    max_size=20,
)


def error(column: str, severity: str) -> dict[str, object]:
    return {"column": column, "severity": severity, "quote": "…", "turn": 3}


def columns(value: float, **other: float) -> dict[str, float]:
    return {**dict.fromkeys(COLUMNS, value), **other}


def test_the_columns_and_weights_are_those_of_the_card() -> None:
    assert COLUMNS == (
        "basics_score",
        "logic_score",
        "knowledge_score",
        "diversity_score",
        "content_logic_score",
        "interaction_score",
    )
    assert WEIGHTS == {"worlds": 0.5, "stories": 0.25, "preferences": 0.25} and set(PILLARS) == set(WEIGHTS)


def test_errors_cost_their_own_column() -> None:
    assert chunk_scores([]) == columns(100.0)
    found = [error("logic_score", "minor"), error("logic_score", "major"), error("interaction_score", "critical")]
    assert chunk_scores(found) == columns(100.0, logic_score=80.0, interaction_score=60.0)
    assert chunk_scores([error("basics_score", "critical")] * 3)["basics_score"] == 0.0  # the floor


@given(ERRORS, st.sampled_from(COLUMNS), st.sampled_from(list(PENALTIES)))
def test_scores_stay_in_range_and_no_error_helps(found: list[dict[str, str]], column: str, severity: str) -> None:
    scores, worse = chunk_scores(found), chunk_scores([*found, {"column": column, "severity": severity}])
    assert all(0 <= score <= 100 for score in scores.values()) and 0 <= overall(scores) <= 100
    assert all(worse[name] <= scores[name] for name in COLUMNS) and overall(worse) <= overall(scores)
    assert chunk_scores(found[::-1]) == scores


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([error("fun_score", "minor")], "error 0: column must be one of .* got 'fun_score'"),
        ([error("logic_score", "minor"), error("logic_score", "huge")], "error 1: severity must be one of"),
        ([{"column": "logic_score"}], "error 0: severity must be one of .* got None"),
        ([{"column": ["logic_score"], "severity": "minor"}], "error 0: column must be"),
        (["bad"], "error 0 must be an object with column and severity, got 'bad'"),
        (None, "errors must be a list of objects, got NoneType"),
        ({"errors": []}, "errors must be a list of objects, got dict"),
    ],
)
def test_what_is_no_judgement(errors: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chunk_scores(errors)


def test_pillars_and_overall_by_hand() -> None:
    scores = dict(zip(COLUMNS, (90.0, 60.0, 30.0, 80.0, 70.0, 50.0), strict=True))
    assert pillars(scores) == {"worlds": 60.0, "stories": 75.0, "preferences": 50.0}
    assert overall(scores) == 0.5 * 60 + 0.25 * 75 + 0.25 * 50


@pytest.mark.parametrize(
    ("worlds", "stories", "preferences", "published"),
    [(80.55, 79.97, 97.51, 84.65), (67.23, 82.10, 89.90, 76.62), (59.13, 57.74, 86.90, 65.73)],
)
def test_published_pillars_give_published_averages(
    worlds: float, stories: float, preferences: float, published: float
) -> None:
    by_pillar = {"worlds": worlds, "stories": stories, "preferences": preferences}
    scores = {column: by_pillar[name] for name, own in PILLARS.items() for column in own}
    assert overall(scores) == pytest.approx(published, abs=0.01)


def test_a_session_is_the_mean_of_its_judged_chunks() -> None:
    scores = session_scores([columns(100.0), None, columns(50.0, logic_score=0.0), None])
    assert scores == (columns(75.0, logic_score=50.0), 2, 2)
    assert session_scores([None]) == (None, 0, 1)


def test_runs_are_averaged_within_a_seed_first() -> None:
    seeds = {"b": [columns(100.0)], "a": [columns(0.0), columns(20.0), None], "c": [None, None, None]}
    assert list(seed_columns(seeds)) == ["a", "b", "c"]
    assert seed_columns(seeds)["a"] == columns(10.0) and seed_columns(seeds)["c"] is None
    summary = summarize_sessions(seeds)
    assert summary == {
        "overall": 55.0,
        "pillars": dict.fromkeys(PILLARS, 55.0),
        "columns": columns(55.0),
        "seeds": 2,
        "missing_seeds": 1,
        "sessions": 3,
        "missing_sessions": 4,
    }


def test_nothing_judged_gives_no_number() -> None:
    summary = summarize_sessions({"a": [None]})
    assert (summary["overall"], summary["pillars"], summary["columns"]) == (None, None, None)


def test_curve() -> None:
    sessions = [[columns(100.0), columns(50.0), None], [columns(80.0)], [None, columns(70.0)]]
    assert curve(sessions) == [(1, 20, 90.0, 2), (21, 40, 60.0, 2), (41, 60, None, 0)]
    assert curve(sessions, chunk_turns=10)[1][:2] == (11, 20)
    assert curve([]) == []
    assert [point[:2] for point in curve(sessions, 30, turns=70)] == [(1, 30), (31, 60), (61, 70)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: session_scores([]), "at least one chunk, got none"),
        (lambda: session_scores([{"logic_score": 3.0}]), "scores need the columns"),
        (lambda: summarize_sessions({}), "at least one seed, got none"),
        (lambda: summarize_sessions({"a": []}), "seed 'a' has no runs; give None"),
        (lambda: overall(columns(math.nan)), "basics_score must be a score from 0 to 100, got nan"),
        (lambda: overall(columns(50.0, logic_score=101.0)), "logic_score must be a score from 0 to 100, got 101.0"),
    ],
)
def test_scores_refuse(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
