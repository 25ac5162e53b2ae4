"""The report of any evaluation from the output folder of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from her_hf.runs.report.page import PAGE
from her_hf.runs.report.shared import Results
from her_hf.runs.results import RESULTS, read_results

from .coser.report import write_coser_report
from .form.report import write_form_report
from .minimax.report import write_minimax_report
from .reward.report import write_reward_report

REPORTS: dict[str, Callable[[Results, Path], Path]] = {
    "coser": write_coser_report,
    "minimax": write_minimax_report,
    "form": write_form_report,
    "reward": write_reward_report,
}


def page_of(folder: Path) -> tuple[Results, Path]:
    """The results of a run and its `report.html`, which is written if it is missing or older than the results.

    Args:
        folder (`Path`): The `--out` folder of an evaluation.

    Raises:
        `FileNotFoundError`, `ValueError`: As [`~her_hf.runs.results.read_results`].
    """
    results, page = read_results(folder), folder / PAGE
    if not page.is_file() or page.stat().st_mtime < (folder / RESULTS).stat().st_mtime:
        REPORTS[results["evaluation"]](results, folder)
    return results, page
