"""`her-hf eval show`: the table in the terminal, and the page."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from her_hf.cli.main import app
from her_hf.durable import write_json
from her_hf.runs.results import write_results
from tests.support.results import HOSTILE, coser_run, golden

pytest.importorskip("matplotlib", reason='needs pip install "her_hf[eval]"')


def show(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["eval", "show", *map(str, words)], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("coser", ("average", "Storyline Consistency", "her-sft-32b", "judge-a, judge-b", "of 32 judgements")),
        ("minimax", ("overall", "preferences", "100 turns")),
        ("form", ("well-formed", "6 replies", "14.3% of 7 replies")),
        ("reward", ("accuracy", "unseen kinds", "orders agree")),
    ],
)
def test_the_figures_of_every_evaluation_are_shown(tmp_path: Path, name: str, said: tuple[str, ...]) -> None:
    write_results(tmp_path, golden()[name])
    output = show(tmp_path, "--no-open")
    assert all(part in output for part in said), output
    assert (tmp_path / "report.html").is_file() and (tmp_path / "report.md").is_file()


def test_the_page_is_opened_and_written_anew_only_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)))
    write_results(tmp_path, coser_run(2))
    page = tmp_path / "report.html"
    output = show(tmp_path)
    assert opened == [page.resolve().as_uri()] and "No browser could be opened" in output
    page.write_text("mine")
    show(tmp_path)
    assert page.read_text() == "mine"
    os.utime(page, (0, 0))
    show(tmp_path, "--no-open")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>") and len(opened) == 2


def test_hostile_names_are_text_in_the_terminal(tmp_path: Path) -> None:
    write_results(tmp_path, coser_run(2, actor=f"[red]{HOSTILE}\x1b[2J"))
    output = show(tmp_path, "--no-open")
    assert "[red]Salt|Iron <script>" in output and "\x1b[2J" not in output


def test_a_run_that_cannot_be_shown_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for results, said in ((None, "has no results.json"), ({"played": {}}, "older her_hf")):
        if results is not None:
            write_json(tmp_path / "results.json", results)
        done = CliRunner().invoke(app, ["eval", "show", str(tmp_path), "--no-open"])
        assert isinstance(done.exception, ValueError | OSError) and said in str(done.exception)
        assert not (tmp_path / "report.html").exists()
