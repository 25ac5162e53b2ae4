"""The report of the minimax evaluation; every number comes from `results.json`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from her_hf.runs.report.markdown import counted, escape, folded, interval, mean_of, name_of, points, table
from her_hf.runs.report.plots import draw_curve, draw_pillars, has_curve_to_draw
from her_hf.runs.report.shared import (
    NOT_JUDGED,
    Flag,
    Results,
    commands,
    failures_section,
    is_judged,
    missing_section,
    model_flags,
    option_flags,
    reproduce_section,
    write_played_report,
)
from her_hf.scoring.minimax import PILLARS
from her_hf.scoring.published import PUBLISHED, SOURCE

from .judging import SCALE
from .transcripts import minimax_transcripts


def write_minimax_report(results: Results, out: Path) -> Path:
    """Writes `report.md` and `report.html` of a minimax run and its PNG plots into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.runs.envelope.MinimaxResults`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Without judgements it has no scores and says so.
    """
    return write_played_report(
        results,
        out,
        head=_minimax_head,
        plots={"pillars.png": draw_pillars, "curve.png": draw_curve},
        scores=[_pillars, _curve, _by_language, _by_seed, _errors],
        details=[_minimax_missing, _minimax_published],
        closing=[_minimax_played, _minimax_failures, _minimax_commands],
        transcripts=minimax_transcripts(results, out),
    )


def _minimax_head(results: Results) -> str:
    settings, played = results["settings"], results["counts"]
    npc, user = name_of(settings.get("npc")), name_of(settings.get("user"))
    lines = [
        f"# MiniMax-style role-play: {npc}",
        f"**{npc}** played the character of {counted(played['seeds'], 'seed')} against {user} as the user: "
        f"{counted(played['sessions'], 'dialogue')}, {counted(played['turns'], 'generated turn')}; prompt style "
        f"“{escape(settings.get('style', '?'))}”. Only the turns of the character are judged.",
    ]
    if not is_judged(results):
        return "\n\n".join([*lines, NOT_JUDGED])
    lines.append(
        f"Judge: **{name_of(settings.get('judge'))}**, in chunks of {escape(settings.get('judge_chunk', '?'))} "
        "turns. "
        f"**{SCALE}**"
    )
    return "\n\n".join(lines)


def _pillars(results: Results) -> str:
    scores, intervals = results["figures"]["scores"], results["intervals"]
    settings, judged = results["settings"], results["counts"]["judged"]
    rows = [["**Overall**", "", f"**{points(scores['overall'])}**", interval(intervals["overall"])]]
    for pillar, columns in PILLARS.items():
        weight = f"{settings['weights'][pillar]:.0%} of overall"
        rows.append([f"**{pillar.title()}**", weight, *_found(scores, intervals, "pillars", pillar)])
        rows += [[_column(column), "", *_found(scores, intervals, "columns", column)] for column in columns]
    penalties = ", ".join(f"{escape(name)} {points:g}" for name, points in settings["penalties"].items())
    return (
        "## Scores\n\nFrom 0 to 100, higher is better. In each chunk a column starts at 100 and loses points for each "
        f"error ({penalties}), down to 0; scores are means over chunks, then over the runs of a seed, then over "
        f"seeds. Scored: {judged['seeds']} seeds ({judged['missing_seeds']} unscored), {judged['sessions']} dialogues "
        f"({judged['missing_sessions']} unscored). Intervals: 95% percentile bootstrap over seeds.\n\n"
        + table(["", "weight", "score", "95% interval"], rows)
        + "\n\n![Scores with intervals; published scores in a separate panel](pillars.png)"
    )


def _found(scores: Results, intervals: Results, kind: str, name: str) -> list[str]:
    return [points((scores[kind] or {}).get(name)), interval((intervals[kind] or {}).get(name))]


def _column(name: str) -> str:
    return name.removesuffix("score").replace("_", " ")


def _curve(results: Results) -> str:
    rows = [
        [f"{point['first_turn']}–{point['last_turn']}", points(point["mean"]), point["n"]]
        for point in results["figures"]["curve"]
    ]
    if not rows:
        return ""
    return (
        "## Quality against turn number\n\nMean overall score of the chunks at each position; turns of both sides are "
        "counted, after the two scripted ones.\n\n"
        + table(["turns", "mean overall", "dialogues judged"], rows)
        + ("\n\n![Quality against turn number](curve.png)" if has_curve_to_draw(results) else "")
    )


def _by_language(results: Results) -> str:
    head = ["language", "seeds", "dialogues", "overall", "95% interval", *map(str.title, PILLARS), "missing dialogues"]
    rows = []
    for language, found in results["figures"]["by_language"].items():
        scores = found["scores"]
        pillars = [points((scores["pillars"] or {}).get(name)) for name in PILLARS]
        ends = interval(found["intervals"]["overall"])
        counts = [found["seeds"] + found["missing_seeds"], found["sessions"] + found["missing_sessions"]]
        rows.append([escape(language), *counts, points(scores["overall"]), ends, *pillars, found["missing_sessions"]])
    return "## By language\n\n" + table(head, rows)


def _by_seed(results: Results) -> str:
    seeds: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for case in results["cases"]:
        seeds[case["language"], case["seed_id"]].append(case["overall"])
    rows = []
    for (language, seed), found in seeds.items():
        scores = [score for score in found if score is not None]
        rows.append([escape(language), escape(seed), len(found), len(found) - len(scores), points(mean_of(scores))])
    return "## By seed\n\n" + folded(["language", "seed", "runs", "missing runs", "overall"], rows)


def _errors(results: Results) -> str:
    names = list(results["settings"]["penalties"])
    rows = [
        [_column(column), *(found[name] for name in names), sum(found.values())]
        for column, found in results["counts"]["judged"]["errors"].items()
    ]
    return "## Errors by column and severity\n\n" + table(["column", *map(escape, names), "total"], rows)


def _minimax_missing(results: Results) -> str:
    judged = results["counts"]["judged"]
    errors = sum(count for found in judged["errors"].values() for count in found.values())
    return missing_section(
        results,
        f"Of the judgements received, {judged['repaired']:,} needed a repair of their JSON. Of their {errors:,} "
        f"errors, {judged['errors_without_severity']:,} had no severity and counted as minor, and "
        f"{judged['quotes_not_found']:,} have a quote that is not in the turn that they name and counted as well.",
    )


def _minimax_published(results: Results) -> str:
    rows = [
        [escape(row.model), *(f"{score:.2f}" for score in row.minimax[:4]), f"[{row.minimax.low}, {row.minimax.high}]"]
        for row in PUBLISHED
    ]
    return (
        "## Published results: different judge and scale\n\n"
        f"From the paper ({SOURCE}), **not measured here**. MiniMax publishes neither its judge and prompts nor its "
        "user simulator and penalties, so **absolute values are not comparable**. `her-hf eval minimax calibrate` "
        "measures the rank correlation with their judge; `her-hf eval compare` compares runs with the same seeds and "
        "judge.\n\n" + table(["model (published)", "average", *map(str.title, PILLARS), "95% interval"], rows)
    )


def _minimax_played(results: Results) -> str:
    played = results["counts"]
    sides = {"ai": "the character", "user": "the user"}
    ends = {"turns": "after all turns", "failed": "by a failure"}
    rows: list[list[object]] = [
        *([f"dialogues that ended {ends.get(end, escape(end))}", count] for end, count in played["ended_by"].items()),
        *([f"turns of {name} without visible text", played["empty_turns"][side]] for side, name in sides.items()),
        ["repeated calls for such a turn", played["repeated_calls"]],
        *(
            [
                f"dialogues in which turns were dropped to fit the context window of {name}",
                played["sessions_with_dropped_turns"][side],
            ]
            for side, name in sides.items()
        ),
    ]
    return "## Simulation\n\n" + table(["event", "count"], rows)


def _minimax_failures(results: Results) -> str:
    ended = {(case["language"], case["seed_id"], case["run"]): case["turns"] for case in results["cases"]}
    rows = [
        [*map(escape, row["key"]), ended[tuple(row["key"])], escape(row["cause"]), escape(row["detail"], limit=300)]
        for row in results["missing"]["failures"]
    ]
    head = ["language", "seed", "run", "ended early at turn", "cause", "detail"]
    return failures_section(counted(len(rows), "dialogue"), head, rows)


def _minimax_commands(results: Results) -> str:
    settings = results["settings"]
    play: list[Flag] = []
    judge: list[Flag] = []
    if "npc" in settings:
        play = [*model_flags("npc", settings["npc"]), *option_flags(settings, {"style": "--style"})]
        play += [*model_flags("user", settings.get("user")), *option_flags(settings, {"turns": "--turns"})]
    if is_judged(results):
        judge = model_flags("judge", settings.get("judge"))
        judge += option_flags(settings, {"judge_chunk": "--judge-chunk", "judge_max_tokens": "--judge-max-tokens"})
    where: list[Flag] = [("--seeds", "SEEDS"), ("--limit", results["counts"]["seeds"])]
    where += [*option_flags(settings, {"runs": "--runs"}), ("--out", "DIR")]
    seeds = settings.get("seed"), settings.get("judge_seed")
    return reproduce_section("minimax", "seeds", commands(where, play, judge, seeds))
