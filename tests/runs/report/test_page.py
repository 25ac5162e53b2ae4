"""`report.html`: one file that opens offline, with transcripts, in which nothing foreign acts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason='needs pip install "her_hf[eval]"')

from her_hf.evaluation.coser.report import write_coser_report
from her_hf.evaluation.coser.results import coser_results
from her_hf.evaluation.form.report import write_form_report
from her_hf.evaluation.minimax.report import write_minimax_report
from her_hf.evaluation.reward.report import write_reward_report
from her_hf.runs.report import transcripts
from her_hf.runs.report.page import plain
from her_hf.runs.results import write_results
from her_hf.runs.starts import Clock, note_start
from her_hf.scenes import Character, Scene
from tests.support.results import HOSTILE, Row, coser_settings, form_run, judged_row, minimax_run, reward_run

NASTY = f"{HOSTILE} <img src=//evil.example onerror=x> </style></details>{{{{7*7}}}} \u202e"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page holds: tags with what they point at, and its text by the classes that it stands in."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.points: list[str] = []
        self.handlers: list[str] = []
        self.open_details: list[str] = []
        self.stack: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(file.read_text(encoding="utf-8"))
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        known = dict(attrs)
        self.points += [str(known[name]) for name in ("src", "href") if name in known]
        self.handlers += [name for name in known if name.startswith("on")]
        if tag == "details" and "open" in known:
            self.open_details.append(str(known.get("class")))
        if tag not in VOID:
            self.stack.append((tag, str(known.get("class") or "")))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((" ".join(name for _, name in self.stack), data.strip()))

    def inside(self, name: str) -> list[str]:
        """Texts inside an element of this class."""
        return [text for classes, text in self.texts if name in classes.split()]


def turn(name: str, text: str, **more: Any) -> Row:
    return {"name": name, "text": text, "origin": "model", "raw": f"{name}: {text}", "ended": True, **more}


def coser_folder(out: Path, *, hostile: bool = False) -> Row:
    """Results of two scenes that were played and one that failed, with their rows beside them."""
    book = NASTY if hostile else "The Mill"
    cast = [Character(name="Ann"), Character(name="Bob")]
    scenes = [Scene(book=book, i_p=at, scenario="A mill.", cast=cast, dialogue=[]) for at in range(3)]
    said = NASTY.replace("<", "(").replace(">", ")") if hostile else "I keep the blue letter."
    turns = [
        turn("Ann", "<role_thinking>He must not see it.</role_thinking> <role_action>turns away</role_action> Tea?"),
        turn("Bob", f"<role_thinking>{said}</role_thinking> {said}", system_thinking="Let Bob stall."),
        turn("Environment", "The wheel stops."),
    ]
    rows: list[Row] = [
        {"key": list(scene.key), "turns": turns, "ended_by": "rounds", "failure": None, "named": 1, "drawn": 1}
        for scene in scenes[:2]
    ]
    failure = {"cause": "status", "detail": NASTY if hostile else "the server is on fire"}
    rows.append({**rows[0], "key": list(scenes[2].key), "turns": [], "ended_by": "failed", "failure": failure})
    judged = []
    for at in range(2):
        flaws = [
            {"instance": "“Bob: keep the Blue letter”", "type": HOSTILE if hostile else "Flow", "severity": 4 + at}
        ]
        flaws += [{"instance": "nowhere in it", "type": "Flow", "severity": 2}]
        for code in ("SC", "AN", "CF", "SQ"):
            row: Row = {"key": list(scenes[at].key), "dimension": code, "judge": "judge-a", "sample": 0}
            judged.append({**row, "flaws": flaws if code == "SQ" else [], "missing": None, "repaired": False})
    results = coser_results(scenes, rows, judged, coser_settings(actor=NASTY if hostile else "her-sft-32b"))
    for name, lines in (("dialogues", rows), ("judgements", judged)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    write_results(out, results)
    return results


def test_flaws_stand_beside_the_turns_that_they_quote_and_thinking_is_folded(tmp_path: Path) -> None:
    write_coser_report(coser_folder(tmp_path), tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.inside("title") == ["The Mill · 1/0", "The Mill · 0/0", "The Mill · 2/0"]  # worst first, failed last
    beside = [text for classes, text in page.texts if "flawed" in classes and "blockquote" not in classes]
    assert "Bob" in beside and "“Bob: keep the Blue letter”" in beside and "turns away" not in beside
    assert page.inside("loose").count("nowhere in it") == 2
    assert page.inside("system")[1] == "Let Bob stall." and "He must not see it." in page.inside("thinking")
    assert page.open_details == ["transcript"]  # the first scene; no thinking
    assert page.inside("failure") == ["status: the server is on fire"]
    assert {"SQ 68.00", "avg 92.00"} <= set(page.inside("chip"))
    shown = " ".join(text for _, text in page.texts)
    assert "Flaws by type and severity" in shown and "33.3% of 12 judgements" in shown


def test_a_page_needs_nothing_from_anywhere_and_hostile_text_stays_text(tmp_path: Path) -> None:
    write_coser_report(coser_folder(tmp_path, hostile=True), tmp_path)
    page = Page(tmp_path / "report.html")
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    assert page.points and all(point.startswith(("#", "data:image/png;base64,")) for point in page.points)
    assert page.handlers == [] and "default-src 'none'" in (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = " ".join(text for _, text in page.texts)
    assert "<script>alert(1)</script>" in shown and "{{7*7}}" in shown and "\u202e" not in shown
    assert plain("a\x1b[2Jb\ud800\n") == "a[2Jb"


def test_the_page_shows_the_figures_of_the_report(tmp_path: Path) -> None:
    results = coser_folder(tmp_path)
    text = write_coser_report(results, tmp_path).read_text(encoding="utf-8")
    page = Page(tmp_path / "report.html")
    assert f"{results['figures']['scores']['avg']:.2f}" in page.inside("tiles")
    assert "her-sft-32b" in page.inside("facts")
    shown = [said for _, said in page.texts]
    assert all(title in shown for title in re.findall(r"^## (.+)$", text, flags=re.MULTILINE))


def test_the_report_says_which_run_it_is(tmp_path: Path) -> None:
    results = coser_folder(tmp_path)
    data = {"source": "scenes.json", "split": "test", "count": 3, "digest": "ab" * 32}
    results["settings"]["data"] = data
    clock = Clock()
    clock.lap("playing")
    for _ in range(2):
        note_start(tmp_path, clock, {})
    text = write_coser_report(results, tmp_path).read_text(encoding="utf-8").split("## Run\n")[1]
    for said in (
        "scenes.json",
        "| split | test |",
        "abababababab",
        "| starts | 2 |",
        "her_hf",
        "commit",
        "ended",
        "time",
    ):
        assert said in text, said


def test_only_the_worst_are_in_the_page_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "LIMIT", 1)
    write_coser_report(coser_folder(tmp_path), tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.inside("title") == ["The Mill · 1/0"]
    assert any("2 more are only in the files of the run" in text for _, text in page.texts)


def rows_of(name: str, cases: list[Row]) -> dict[str, list[Row]]:
    """Rows of the run's files."""
    if name == "minimax":
        return {"dialogues": list(map(minimax_dialogue, cases)), "judgements": [minimax_judgement(cases[0])]}
    if name == "form":
        return {"replies": [{"key": case["key"], "text": f"Ann: {NASTY}"} for case in cases]}
    return {"judged": [judged_row(at) for at in range(len(cases))]}


@pytest.mark.parametrize(
    ("name", "results", "write"),
    [
        ("minimax", minimax_run(2), write_minimax_report),
        ("form", form_run(), write_form_report),
        ("reward", reward_run(), write_reward_report),
    ],
)
def test_pages_of_the_other_evaluations(
    tmp_path: Path, name: str, results: Row, write: Callable[[Row, Path], Path]
) -> None:
    for file, lines in rows_of(name, results["cases"]).items():
        (tmp_path / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write(results, tmp_path)
    page = Page(tmp_path / "report.html")
    assert page.inside("title") and page.inside("flaw") and not page.tags & {"script", "link"}
    assert all(point.startswith(("#", "data:")) for point in page.points)


def minimax_dialogue(case: Row) -> Row:
    names = {name: case[name] for name in ("language", "seed_id", "run")}
    lines = [{"role": ("ai", "user")[n % 2], "name": "N", "text": f"Line {n}. {NASTY}", "round": n} for n in range(4)]
    return {**names, "turns": lines, "failure": None}


def minimax_judgement(case: Row) -> Row:
    names = {name: case[name] for name in ("language", "seed_id", "run")}
    error = {"column": "logic_score", "severity": "major", "quote": NASTY, "turn": 2, "reason": NASTY}
    return {**names, "chunk": 0, "rounds": [2, 3], "errors": [error], "missing": None}
