"""Reports and plots of evaluations, from results that come out of hand-made rows."""

from __future__ import annotations

import random
import re
import shlex
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image

from her_hf.evaluation.coser.results import coser_results
from her_hf.judging import DIMENSIONS

pytest.importorskip("matplotlib", reason='needs pip install "her_hf[eval]"')

from her_hf.evaluation.coser.report import write_coser_report
from her_hf.evaluation.minimax.report import write_minimax_report
from her_hf.runs.report.markdown import escape
from her_hf.runs.report.plots import curve_intervals
from her_hf.scoring.published import PUBLISHED
from tests.support.results import (
    BOOKS,
    HOSTILE,
    Row,
    coser_run,
    coser_settings,
    dialogue_row,
    judgement_rows,
    minimax_run,
    scene_of,
)

# -- what reports say


def sections(report: Path) -> dict[str, str]:
    """Text by heading; what stands before the first is under ''."""
    parts = re.split(r"^## (.+)$", report.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def cells(section: str) -> list[list[str]]:
    """Rows of the tables of a section, heads and rules left out."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line] for line in lines]
    return [row for at, row in enumerate(rows) if row[0] != "---" and rows[at + 1 : at + 2] != [["---"] * len(row)]]


def is_plot(file: Path) -> bool:
    with Image.open(file) as image:
        return image.format == "PNG" and round(image.info["dpi"][0]) == 150 and min(image.size) > 300


def test_the_published_table_is_that_of_the_reference(shared: Path) -> None:
    lines = (shared / "reference" / "her.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") == 12][2:]
    ours = [
        [
            row.model,
            *(f"{score:.2f}" for score in (*row.coser, *row.minimax[:4])),
            f"{row.minimax[4]}-{row.minimax[5]}",
        ]
        for row in PUBLISHED
    ]
    assert ours == rows and len(ours) == 17


def test_scores_and_tables_are_those_of_the_results(tmp_path: Path) -> None:
    results = coser_run(24)
    found = sections(write_coser_report(results, tmp_path))
    scores = cells(found["Scores"])
    assert [row[1].strip("*") for row in scores] == [
        f"{results['figures']['scores'][name]:.2f}" for name in (*DIMENSIONS, "avg")
    ]
    low, high = results["intervals"]["SC"]
    assert scores[0] == ["Storyline Consistency (SC)", scores[0][1], f"[{low:.1f}, {high:.1f}]", "23", "1"]
    assert [row[0] for row in cells(found["By tag"])] == ["id", "ood"]
    assert {row[0]: int(row[1]) for row in cells(found["By book"])} == {
        book: len([at for at in range(24) if BOOKS[at % len(BOOKS)] == book]) for book in BOOKS
    }
    published = [row for row in found if row.startswith("Published")]
    assert len(published) == 1 and "not comparable" in found[published[0]] and "HER-RL" in found[published[0]]
    assert not any("HER-RL" in text for title, text in found.items() if title not in published)
    assert is_plot(tmp_path / "scores.png") and is_plot(tmp_path / "by_tag.png")


@pytest.mark.parametrize(("thoughts", "said", "other"), [("coser", "removed", "HER"), ("her", "kept", "CoSER")])
def test_the_head_says_who_judged_and_what_judges_saw(tmp_path: Path, thoughts: str, said: str, other: str) -> None:
    head = sections(
        write_coser_report(coser_run(4, judges=("judge-a", "judge-b"), judge_thoughts=thoughts), tmp_path)
    )[""]
    assert f"Inner thoughts were **{said}**" in head and f"({other}) are not comparable" in head
    assert "**her-sft-32b** played" in head and "**judge-a**, **judge-b**" in head


def test_missing_judgements_stand_before_the_scores(tmp_path: Path) -> None:
    results = coser_run(20, broken=2)
    found = sections(write_coser_report(results, tmp_path))
    missing = results["missing"]
    assert f"**{missing['missing']} of 80 judgements are missing ({missing['share']:.1%})**" in found[""]
    assert "dialogue 8" in found[""]
    rows = cells(found["Missing judgements"])
    assert {row[0].replace("\\", ""): int(row[2]) for row in rows[:-1]} == missing["by_cause"]
    assert rows[-1] == [str(count) for count in results["counts"]["judged"]["missing_by_dimension"].values()]
    assert len(cells(found["Failures"])) == 2


def test_nothing_missing_and_one_judge_are_said(tmp_path: Path) -> None:
    results = coser_run(2, seed=3, tags=("",))
    assert not results["missing"]["missing"]
    found = sections(write_coser_report(results, tmp_path))
    assert "None of 8 judgements is missing." in found[""]
    assert "no scene was judged more than once" in found["Agreement between judges"]
    assert not {"By tag", "Failures"} & found.keys() and not (tmp_path / "by_tag.png").exists()


def test_agreement_is_shown_for_several_judges(tmp_path: Path) -> None:
    results = coser_run(12, judges=("judge-a", "judge-b"), samples=2)
    rows = cells(sections(write_coser_report(results, tmp_path))["Agreement between judges"])
    assert rows[-1][1] == f"{results['figures']['agreement']['all']['krippendorff_alpha']:.2f}" and len(rows) == 5


def test_a_scene_that_only_some_judges_scored_does_not_jump_to_theirs(tmp_path: Path) -> None:
    scenes = [scene_of(at, BOOKS[0]) for at in range(3)]
    dialogues = [dialogue_row(scene, random.Random(at), {}) for at, scene in enumerate(scenes)]
    chance = random.Random(0)
    rows = [row for dialogue in dialogues for row in judgement_rows(dialogue, ("harsh", "mild"), 2, chance, 0.0)]
    for row in rows:
        row |= {"missing": None, "flaws": [{"severity": 9}] if row["judge"] == "harsh" else []}
    whole = coser_results(scenes, dialogues, rows, coser_settings(judges=("harsh", "mild"), judge_samples=2))
    assert whole["figures"]["scores"]["SC"] == 85.0 and whole["counts"]["judged"]["left_out"] == dict.fromkeys(
        DIMENSIONS, 0
    )

    def lost(*wanted: tuple[str, int]) -> Row:
        """Without the judgements of SC in the last scene by these judges and samples."""
        there = []
        for row in rows:
            of_them = row["key"] == dialogues[-1]["key"] and (row["judge"], row["sample"]) in wanted
            gone = {"flaws": None, "missing": {"cause": "no_json", "detail": ""}}
            there.append({**row, **gone} if of_them and row["dimension"] == "SC" else row)
        return coser_results(scenes, dialogues, there, whole["settings"])

    one_sample = lost(("harsh", 0))  # the judge's other sample is there
    assert one_sample["figures"]["scores"] == whole["figures"]["scores"]
    assert one_sample["counts"]["judged"]["unscored"]["SC"] == 0
    one_judge = lost(("harsh", 0), ("harsh", 1))
    assert one_judge["cases"][-1]["SC"] is None and one_judge["cases"][-1]["judges"]["mild"]["SC"] == 100.0
    assert one_judge["figures"]["scores"] == whole["figures"]["scores"]  # with the mild judge alone it would be 90
    counts = one_judge["counts"]["judged"]
    assert (counts["left_out"]["SC"], counts["unscored"]["SC"], counts["scored"]["SC"]) == (1, 1, 2)
    left = lost(("harsh", 0), ("harsh", 1), ("mild", 0), ("mild", 1))["counts"]["judged"]
    assert (left["left_out"]["SC"], left["unscored"]["SC"]) == (0, 1)
    section = sections(write_coser_report(one_judge, tmp_path))["By judge"]
    assert "scored them: SC 1, AN 0, CF 0, SQ 0." in section
    shown = {row[0]: row for row in cells(section)}
    assert shown["all judges"][2] == "85.00" and shown["harsh"][2] == "70.00" and shown["mild"][2] == "100.00"
    assert [shown[name][-1] for name in ("all judges", "harsh", "mild")] == ["1", "1", "0"]
    assert "By judge" not in sections(write_coser_report(coser_run(2), tmp_path))


def test_a_run_that_was_only_played_has_no_scores(tmp_path: Path) -> None:
    found = sections(write_coser_report(coser_run(6, judged=False), tmp_path))
    assert "There are no scores, because nothing was judged." in found[""] and "--judge-only" in found[""]
    assert list(found)[1:] == [
        "Dual-layer form",
        "Overlap with the original",
        "Simulation",
        "Settings",
        "Run",
        "How to reproduce",
    ]
    assert not list(tmp_path.glob("*.png"))
    assert "--simulate-only" in found["How to reproduce"] and "--judge " not in found["How to reproduce"]


def test_form_and_next_speaker_are_shown(tmp_path: Path) -> None:
    results = coser_run(6)
    found = sections(write_coser_report(results, tmp_path))
    form = {row[0]: row[1] for row in cells(found["Dual-layer form"])}
    assert form["own thinking leaked into speech"] == f"{results['figures']['form']['leaks']['spoken_thoughts']:.1%}"
    assert next(value for name, value in form.items() if name.startswith("well-formed")) != "0.0%"
    events = {row[0]: row[1] for row in cells(found["Simulation"])}
    named, drawn = (results["counts"][f"next_speaker_{way}"] for way in ("named", "drawn"))
    assert events["next speaker named by the model"] == f"{named} ({named / (named + drawn):.1%})"
    assert events["next speaker drawn at random, as the answer named none"] == str(drawn)


def test_weak_and_absent_scores_are_shown_as_they_are(tmp_path: Path) -> None:
    weak = sections(write_coser_report(coser_run(4, harsh=30), tmp_path / "weak"))
    assert [row[1].strip("*") for row in cells(weak["Scores"])] == ["0.00"] * 5
    results = coser_run(4)
    scenes = [scene_of(at, BOOKS[at], ("id", "ood")[at % 2]) for at in range(4)]
    dialogues = [dialogue_row(scene, random.Random(0), {}) for scene in scenes]
    rows = judgement_rows(dialogues[0], ("judge-a",), 1, random.Random(0), 4.0)
    rows = [{**row, "flaws": None, "missing": {"cause": "no_json", "detail": ""}} for row in rows]
    absent = sections(
        write_coser_report(coser_results(scenes, dialogues, rows, results["settings"]), tmp_path / "absent")
    )
    assert [row[1].strip("*") for row in cells(absent["Scores"])] == ["–"] * 5
    assert is_plot(tmp_path / "absent" / "scores.png") and is_plot(tmp_path / "weak" / "scores.png")


def test_dialogues_of_unknown_origin(tmp_path: Path) -> None:
    scene = scene_of(0, BOOKS[0])
    results = coser_results([scene], [dialogue_row(scene, random.Random(0), {})], None, {})
    found = sections(write_coser_report(results, tmp_path))
    assert "a model that is not recorded" in found[""] and "Not recorded" in found["Settings"]
    assert "the settings of the dialogues are not recorded" in found["How to reproduce"]


def test_a_run_of_which_nothing_could_be_played(tmp_path: Path) -> None:
    found = sections(write_coser_report(coser_run(3, broken=3), tmp_path))
    assert (
        "12 of 12 judgements are missing (100.0%)" in found[""]
        and "no reply of a character" in found["Dual-layer form"]
    )
    assert [row[1].strip("*") for row in cells(found["Scores"])] == ["–"] * 5
    assert cells(found["Overlap with the original"]) == [["–", "–"]] and len(cells(found["Failures"])) == 3
    assert is_plot(tmp_path / "scores.png") and not (tmp_path / "by_tag.png").exists()


def test_the_command_is_one_for_a_shell_and_gives_the_settings_back(tmp_path: Path) -> None:
    results = coser_run(3, actor="--out x; `rm`\n$(y)", judges=("judge a'\"",), rounds=7)
    block = sections(write_coser_report(results, tmp_path))["How to reproduce"]
    words = shlex.split(block.split("```bash\n")[1].split("\n```")[0].replace("\\\n", ""))
    assert "--actor-name=--out x; `rm` $(y)" in words
    assert words[words.index("--judge-name") + 1] == "judge a'\"" and words[words.index("--rounds") + 1] == "7"
    apart = sections(write_coser_report({**results, "settings": {**results["settings"], "judge_seed": 1}}, tmp_path))
    commands = apart["How to reproduce"]
    assert commands.count("her-hf eval coser") == 2 and "--simulate-only" in commands and "--judge-only" in commands


# -- nothing foreign acts as Markdown


def inline_types(markdown: str) -> tuple[list[str], list[str], str]:
    """Kinds of blocks and of inline parts, and the text that a reader sees."""
    blocks = MarkdownIt("commonmark").enable("table").parse(markdown)
    inner = [child for block in blocks for child in block.children or []]
    return [block.type for block in blocks], [child.type for child in inner], "".join(child.content for child in inner)


@given(
    st.text(alphabet=st.one_of(st.sampled_from("\\`*_[]()<>#|~$&!:/.\n\r-+=1aw \u202e"), st.characters()), max_size=60)
)
def test_escaped_text_is_shown_and_does_nothing(text: str) -> None:
    blocks, kinds, shown = inline_types(f"| head |\n| --- |\n| x {escape(text)} |\n")
    assert blocks.count("td_open") == 1 and set(kinds) <= {"text", "text_special"}
    bare = "".join(sign for sign in text if not re.match(r"[\u202a-\u202e\u2066-\u2069]", sign))
    wanted = "".join(s for s in " ".join(bare.split()) if unicodedata.category(s) not in ("Cc", "Cs"))
    assert shown == f"headx {wanted}".rstrip()


def test_hostile_names_do_nothing_in_a_report(tmp_path: Path) -> None:
    results = coser_run(
        14, actor=HOSTILE, judges=(HOSTILE, "b"), books=(HOSTILE, "x\n\n# y"), tags=(HOSTILE, "_$a$"), broken=1
    )
    report = write_coser_report(results, tmp_path).read_text(encoding="utf-8")
    blocks, kinds, _ = inline_types(report)
    assert "html_inline" not in kinds and "html_block" not in blocks
    assert kinds.count("link_open") == 1  # our own, to the missing judgements
    assert report.count("\n# ") == 0 and blocks.count("fence") == 1
    assert is_plot(tmp_path / "by_tag.png")


def test_a_long_text_is_cut() -> None:
    assert escape("a" * 500) == "a" * 159 + "…"
    assert escape("see http://x.example and www.x.example") == "see http\\://x.example and www\\.x.example"


# -- minimax


def test_a_minimax_report(tmp_path: Path) -> None:
    results = minimax_run(6, broken=2)
    found = sections(write_minimax_report(results, tmp_path))
    assert "scale of their own" in found[""] and "not with published values" in found[""]
    assert f"{results['missing']['missing']} of 90 judgements are missing" in found[""]
    scores = {row[0].strip("*"): row[2].strip("*") for row in cells(found["Scores"])}
    assert scores["Overall"] == f"{results['figures']['scores']['overall']:.2f}"
    assert scores["Stories"] == f"{results['figures']['scores']['pillars']['stories']:.2f}"
    assert scores["content logic"] == f"{results['figures']['scores']['columns']['content_logic_score']:.2f}"
    curve = cells(found["Quality against turn number"])
    assert curve == [
        [f"{p['first_turn']}–{p['last_turn']}", f"{p['mean']:.2f}", str(p["n"])] for p in results["figures"]["curve"]
    ]
    assert [row[0] for row in cells(found["By language"])] == ["en", "zh"]
    assert len(cells(found["By seed"])) == 6 and len(cells(found["Failures"])) == 2
    assert sum(int(row[-1]) for row in cells(found["Errors by column and severity"])) == sum(
        sum(found.values()) for found in results["counts"]["judged"]["errors"].values()
    )
    assert is_plot(tmp_path / "pillars.png") and is_plot(tmp_path / "curve.png")


def test_a_minimax_run_that_was_only_played_or_never_well(tmp_path: Path) -> None:
    played = sections(write_minimax_report(minimax_run(2, judged=False), tmp_path / "played"))
    assert "nothing was judged" in played[""] and "Scores" not in played and "Published" not in "".join(played)
    assert not list((tmp_path / "played").glob("*.png"))
    broken = sections(write_minimax_report(minimax_run(1, runs=1, broken=1), tmp_path / "broken"))
    assert cells(broken["Scores"])[0][2] == "**–**" and "5 of 5 judgements are missing (100.0%)" in broken[""]
    assert is_plot(tmp_path / "broken" / "pillars.png") and not (tmp_path / "broken" / "curve.png").exists()


def test_intervals_of_the_curve_hold_its_means() -> None:
    results = minimax_run(8, broken=1)
    ends = curve_intervals(results["cases"], 5)
    for point, end in zip(results["figures"]["curve"], ends, strict=True):
        assert end is not None and end[0] <= point["mean"] <= end[1]
    assert curve_intervals(results["cases"][:1], 5) == [None] * 5
