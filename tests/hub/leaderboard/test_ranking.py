from __future__ import annotations

from pathlib import Path

import pytest

from her_hf.evaluation.compare import compare_runs
from her_hf.hub.leaderboard.ranking import holm, rank
from her_hf.hub.leaderboard.submissions import find_entries
from tests.support.leaderboard import board_of_four, put
from tests.support.results import coser_run, minimax_run


def test_rows_are_ranked_and_each_is_tested_against_the_best(tmp_path: Path) -> None:
    root = board_of_four(tmp_path / "results")
    (group,) = rank(find_entries([root]), "coser", resamples=2000)
    assert [(row.entry.submission.model, row.mark) for row in group.rows] == [
        ("me/good", "best"),
        ("me/as-good", "same"),
        ("me/bad", "below"),
    ]
    values = [row.values["avg"].value for row in group.rows]
    assert values == sorted(values, reverse=True)
    alone = compare_runs(root / "a" / "coser", root / "c" / "coser", resamples=2000)["tests"]["avg"]
    assert group.rows[2].p_value == pytest.approx(2 * alone["p_value"])  # the smaller of two, by Holm
    assert group.rows[2].pairs == alone["pairs"]
    assert dict(group.facts)["data"] == "her-mini, test (40)" and dict(group.facts)["judge"] == "judge-a"


def test_what_was_measured_in_another_way_or_on_other_data_stands_in_another_table(tmp_path: Path) -> None:
    put(tmp_path / "a", coser_run(8), model="me/x")
    put(tmp_path / "b", coser_run(8), model="me/y")
    put(tmp_path / "c", coser_run(8, judges=("judge-b",)), model="me/x")
    put(tmp_path / "d", coser_run(8), model="me/x", digest="cd" * 32)
    groups = rank(find_entries([tmp_path]), "coser", resamples=200)
    assert [len(group.rows) for group in groups] == [2, 1, 1]
    assert [row.mark for group in groups for row in group.rows][2:] == ["alone", "alone"]


def test_a_model_stands_in_a_table_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name, minimax_run(4, runs=1), model="me/x")
    with pytest.raises(ValueError, match=r"both hold results of me/x .* remove one"):
        rank(find_entries([tmp_path]), "minimax")


def test_every_evaluation_ranks_by_its_first_column(tmp_path: Path) -> None:
    entries = find_entries([board_of_four(tmp_path / "results")])
    shown = {name: rank(entries, name, resamples=200) for name in ("minimax", "form", "reward")}
    assert all(len(groups) == 1 and groups[0].rows[0].mark == "alone" for groups in shown.values())
    assert list(shown["form"][0].rows[0].parts) == ["The Mill"]
    assert list(shown["reward"][0].rows[0].parts) == ["anachronism", "lecture"]


def test_holm_orders_and_never_lowers_a_p_value() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}
