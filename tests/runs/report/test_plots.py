"""Plots say what they show, and none is drawn for a single bar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason='needs pip install "her_hf[eval]"')

from matplotlib.figure import Figure

from her_hf.evaluation.coser.report import write_coser_report
from her_hf.evaluation.form.report import write_form_report
from her_hf.evaluation.minimax.report import write_minimax_report
from her_hf.evaluation.reward.report import write_comparison, write_reward_report
from her_hf.evaluation.reward.results import reward_results
from tests.support.results import Row, coser_run, form_run, judged_row, minimax_run, reward_run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int]]:
    """By file the line under the plot and the number of panels."""
    found: dict[str, tuple[str, int]] = {}
    save = Figure.savefig

    def saved(self: Figure, file: Any, **given: Any) -> None:
        found[Path(file).name] = " ".join(str(self.get_supxlabel()).split()), len(self.axes)
        save(self, file, **given)

    monkeypatch.setattr(Figure, "savefig", saved)
    return found


@pytest.mark.parametrize(
    ("results", "write", "files", "said"),
    [
        (
            coser_run(8, broken=1),
            write_coser_report,
            {"scores.png", "by_tag.png"},
            ("her-sft-32b", "judge-a", "style her, at most 10 turns, judges see no thoughts", "of 32 judgements"),
        ),
        (
            minimax_run(3, broken=1),
            write_minimax_report,
            {"pillars.png", "curve.png"},
            ("her-sft-32b", "judge-a", "style her, 100 turns, 3 runs per seed", "of 45 judgements"),
        ),
        (form_run(), write_form_report, {"form.png"}, ("her-sft-32b", "style her", "14.3% of 7 replies")),
        (reward_run(), write_reward_report, {"reward.png"}, ("judge-a", "pairwise, read as text", "of 8 judgements")),
    ],
)
def test_plots_carry_model_judge_setting_and_missing_share(
    tmp_path: Path,
    drawn: dict[str, tuple[str, int]],
    results: Row,
    write: Callable[[Row, Path], Path],
    files: set[str],
    said: tuple[str, ...],
) -> None:
    write(results, tmp_path)
    assert set(drawn) == files
    for under, _ in drawn.values():
        assert all(part in under for part in (*said, "missing: ")), under


def test_no_plot_is_drawn_for_a_single_bar(tmp_path: Path, drawn: dict[str, tuple[str, int]]) -> None:
    pairs = [{**judged_row(at), "kind": None} for at in range(3)]
    settings = {**reward_run()["settings"], "unseen": []}
    alone = reward_results(pairs, settings)
    text = write_reward_report(alone, tmp_path / "reward").read_text(encoding="utf-8")
    assert "![" not in text and drawn == {}
    text = write_comparison({"a": alone, "b": alone}, _made(tmp_path / "both")).read_text(encoding="utf-8")
    assert "models.png" in text and drawn.pop("models.png")[1] == 1  # two bars, and one point of calibration
    text = write_coser_report(coser_run(4, tags=("id",)), tmp_path / "coser").read_text(encoding="utf-8")
    assert "by_tag.png" not in text and set(drawn) == {"scores.png"}
    write_form_report(form_run(1), tmp_path / "form")
    assert drawn["form.png"][1] == 1  # one pattern has no panel
    results = minimax_run(2)
    results["figures"]["curve"] = results["figures"]["curve"][:1]
    text = write_minimax_report(results, tmp_path / "minimax").read_text(encoding="utf-8")
    assert "curve.png" not in text and "curve.png" not in drawn


def test_a_plot_that_is_no_longer_drawn_does_not_stay(tmp_path: Path) -> None:
    write_coser_report(coser_run(4), tmp_path)
    assert (tmp_path / "by_tag.png").exists()
    write_coser_report(coser_run(4, tags=("id",)), tmp_path)
    assert not (tmp_path / "by_tag.png").exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
