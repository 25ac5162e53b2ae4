"""The report of the CoSER evaluation; every number comes from `results.json`."""

from __future__ import annotations

from pathlib import Path

from her_hf.runs.report.markdown import (
    counted,
    escape,
    figure,
    folded,
    interval,
    languages,
    name_of,
    percent,
    points,
    table,
)
from her_hf.runs.report.plots import NO_TAG, draw_by_tag, draw_scores, has_tags_to_draw, tag_intervals
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
from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.published import PUBLISHED, SOURCE, CoserScores

from .transcripts import coser_transcripts


def write_coser_report(results: Results, out: Path) -> Path:
    """Writes `report.md` and `report.html` of a CoSER run and its PNG plots into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.runs.envelope.CoserResults`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Without judgements it has no scores and says so.
    """
    return write_played_report(
        results,
        out,
        head=_coser_head,
        plots={"scores.png": draw_scores, "by_tag.png": draw_by_tag},
        scores=[_scores, _by_judge, _by_tag, _by_book, _flaws],
        details=[_agreement, _coser_missing, _coser_published],
        closing=[_form, _overlap, _coser_played, _coser_failures, _coser_commands],
        transcripts=coser_transcripts(results, out),
    )


def _coser_head(results: Results) -> str:
    settings, played = results["settings"], results["counts"]
    actor = name_of(settings.get("actor"))
    spoken = languages(case["language"] for case in results["cases"])
    lines = [
        f"# CoSER, given-circumstance acting: {actor}",
        f"**{actor}** played every character of {counted(played['scenes'], 'scene')}{spoken}: "
        f"{counted(played['character_turns'], 'turn')} by characters, {played['turns']:,} including Environment; at "
        f"most {escape(settings.get('rounds', '?'))} turns per scene, prompt style "
        f"“{escape(settings.get('style', '?'))}”. Environment: {name_of(settings.get('environment'))}. Next speaker: "
        f"{name_of(settings.get('next_speaker'))}.",
    ]
    if not is_judged(results):
        return "\n\n".join([*lines, NOT_JUDGED])
    samples = counted(int(settings.get("judge_samples", 1)), "judgement")
    judges = ", ".join(f"**{name_of(judge)}**" for judge in settings.get("judges", ()))
    lines.append(f"Judges: {judges or 'not recorded'}, each with {samples} per scene and dimension.")
    return "\n\n".join([*lines, _thoughts(settings)])


def _thoughts(settings: Results) -> str:
    if settings.get("judge_thoughts", "coser") == "her":
        return (
            "Inner thoughts were **kept** in both conversations shown to the judge, as in HER. Scores of runs that "
            "remove them (CoSER) are not comparable with these."
        )
    return (
        "Inner thoughts were **removed** from both conversations shown to the judge, as in CoSER. Scores of runs that "
        "keep them (HER) are not comparable with these."
    )


def _scores(results: Results) -> str:
    scores, intervals = results["figures"]["scores"], results["intervals"]
    scored, unscored = results["counts"]["judged"]["scored"], results["counts"]["judged"]["unscored"]
    rows: list[list[object]] = [
        [f"{name} ({code})", points(scores[code]), interval(intervals[code]), scored[code], unscored[code]]
        for code, name in DIMENSIONS.items()
    ]
    rows.append(["**Average**", f"**{points(scores['avg'])}**", interval(intervals["avg"]), "", ""])
    return (
        "## Scores\n\nFrom 0 to 100, higher is better. The score of a dimension is the mean over scored scenes; the "
        f"average is the mean of the {len(DIMENSIONS)} dimensions. Intervals: 95% percentile bootstrap over scenes. "
        "They express the uncertainty due to the choice of scenes, not that of the judge.\n\n"
        + table(["dimension", "score", "95% interval", "scenes scored", "scenes unscored"], rows)
        + "\n\n![Scores with intervals; published scores in a separate panel](scores.png)"
    )


def _by_judge(results: Results) -> str:
    judges, judged = results["figures"]["by_judge"], results["counts"]["judged"]
    if len(judges) < 2:
        return ""
    left_out = ", ".join(f"{code} {count}" for code, count in judged["left_out"].items())
    together = {"scores": results["figures"]["scores"], "cases": judged["scored"], "missing": judged["unscored"]}
    rows = [_group_row("all judges", together), *(_group_row(judge, found) for judge, found in judges.items())]
    return (
        "## By judge\n\nThe score of a scene in a dimension is the mean over judges. It requires **all** judges (each "
        "with at least one sample), because judges differ in severity, so a mean over only some of them would be "
        f"biased. Scenes excluded because only some judges scored them: {left_out}. The scores of a single judge are "
        "over all scenes that it scored.\n\n" + table(["judge", *_GROUP_HEAD], rows)
    )


_GROUP_HEAD = ("scenes", *DIMENSIONS, "average", "missing scores")


def _by_tag(results: Results) -> str:
    tables = results["figures"]["by_tag"]
    if not set(tables) - {NO_TAG}:
        return ""
    plot = "\n\n![Scores by tag](by_tag.png)" if has_tags_to_draw(results) else ""
    ends = {tag: interval(found["avg"]) for tag, (_, found) in tag_intervals(results["cases"]).items()}
    rows = [[*_group_row(tag, group), ends.get(tag, "–")] for tag, group in tables.items()]
    return "## By tag\n\n" + table(["tag", *_GROUP_HEAD, "95% interval of the average"], rows) + plot


def _by_book(results: Results) -> str:
    rows = [_group_row(book, group) for book, group in results["figures"]["by_book"].items()]
    return "## By book\n\n" + folded(["book", *_GROUP_HEAD], rows) if rows else ""


def _flaws(results: Results) -> str:
    """Counts of flaws by type and severity."""
    found = results["counts"]["judged"]["flaws"]
    severities = sorted({size for kinds in found.values() for counts in kinds.values() for size in counts}, key=float)
    rows = [
        [code, escape(kind), *(counts.get(size, 0) for size in severities), sum(counts.values())]
        for code, kinds in found.items()
        for kind, counts in kinds.items()
    ]
    title = "## Flaws by type and severity"
    if not rows:
        return f"{title}\n\nNone."
    return f"{title}\n\nOver all judges and samples; a flaw without a severity counts as 1.\n\n" + folded(
        ["dimension", "type", *severities, "total"], rows
    )


def _group_row(name: str, group: Results) -> list[object]:
    scenes = group["cases"]["SC"] + group["missing"]["SC"]
    scores = [points(group["scores"][code]) for code in (*DIMENSIONS, "avg")]
    return [escape(name), scenes, *scores, sum(group["missing"].values())]


def _agreement(results: Results) -> str:
    found = results["figures"]["agreement"]
    title = "## Agreement between judges\n\n"
    if found is None:
        return (
            f"{title}Not available: no scene was judged more than once. Agreement requires several judges (repeat "
            "`--judge`) or several samples (`--judge-samples`)."
        )
    rows = [
        [
            DIMENSIONS.get(code, f"**all {len(DIMENSIONS)}**"),
            figure(found[code]["krippendorff_alpha"], ".2f"),
            figure(found[code]["mean_absolute_difference"], ".1f"),
        ]
        for code in (*DIMENSIONS, "all")
    ]
    return (
        f"{title}Scores by {'; '.join(map(escape, found['raters']))}. Krippendorff's alpha (interval level): 1 is "
        "full agreement, 0 is chance. A dash: undefined, because no scene has two scores, or all scores are "
        "equal.\n\n" + table(["dimension", "alpha", "mean absolute difference (points)"], rows)
    )


def _coser_missing(results: Results) -> str:
    missing, judged = results["missing"], results["counts"]["judged"]
    by_dimension = table(list(DIMENSIONS.values()), [[judged["missing_by_dimension"][code] for code in DIMENSIONS]])
    return missing_section(
        results,
        *([by_dimension] if missing["missing"] else []),
        f"Of the judgements received, {judged['repaired']:,} needed a repair of their JSON. Of their flaws, "
        f"{judged['flaws_without_severity']:,} had no severity and counted as 1, and "
        f"{judged['flaws_of_another_type']:,} had a type that is not in the rubric and counted as well.",
    )


def _coser_published(results: Results) -> str:
    rows = [[escape(row.model), *(f"{score:.2f}" for score in row.coser)] for row in PUBLISHED]
    return (
        "## Published results: different judge and protocol\n\n"
        f"From the paper ({SOURCE}), **not measured here**. Its judge, prompts and limits differ from this run, and "
        "its released code keeps inner thoughts, so **absolute values are not comparable**. Only runs with the same "
        "scenes, judges and settings are: `her-hf eval compare`.\n\n"
        + table(["model (published)", "average", *CoserScores._fields[1:]], rows)
    )


def _form(results: Results) -> str:
    form, title = results["figures"]["form"], "## Dual-layer form"
    if form is None:
        return f"{title}\n\nNot available: no reply of a character came from a model."
    basis = f"Over {counted(form['replies'], 'reply', 'replies')} of characters; computed without a judge."
    if results["settings"].get("style", "her") != "her":
        basis += " This prompt style does not request system thinking, and without it no reply is well-formed."
    issues = ", ".join(f"{escape(issue)} {count}" for issue, count in form["issues"].items())
    return "\n\n".join(
        [title, basis, table(["figure", "value"], _form_rows(form)), f"Replies with each issue: {issues or 'none'}."]
    )


def _form_rows(form: Results) -> list[list[object]]:
    patterns, leaks = form["patterns"], form["leaks"]
    lengths = [
        [f"characters per turn, {layer.replace('_', ' ')}", f"{size:,.0f}"]
        for layer, size in form["characters"].items()
    ]
    return [
        [
            "well-formed (one closed system block, own label, visible text, no issue, end-of-turn token)",
            percent(form["well_formed"]),
        ],
        ["in role (own label, no other speaker)", percent(form["own_role"])],
        ["with end-of-turn token", percent(form["ended"])],
        ["visible to others", percent(form["visible"])],
        ["leak of either kind", percent(form["leak_rate"])],
        ["own thinking leaked into speech", percent(leaks["spoken_thoughts"])],
        ["uses another's thought", percent(leaks["known_secrets"])],
        ["distinct patterns (T role thinking, A action, S speech)", patterns["distinct"]],
        ["most frequent pattern", f"{escape(patterns['top']) or '–'}, {percent(patterns['top_share'])}"],
        ["entropy of patterns (nats)", figure(patterns["entropy"], ".2f")],
        ["Self-BLEU-4 (lower is more varied)", figure(form["self_bleu"], ".4f")],
        *lengths,
    ]


def _overlap(results: Results) -> str:
    row = [figure(results["figures"]["overlap"][name], ".4f") for name in ("bleu", "rouge_l")]
    return (
        "## Overlap with the original\n\nBLEU (4-gram, unsmoothed) and ROUGE-L against the book's conversation, means "
        "over scenes, from 0 to 1. A good performance may deviate from the original, so low values are not "
        "necessarily a defect.\n\n" + table(["BLEU", "ROUGE-L"], [row])
    )


def _coser_played(results: Results) -> str:
    played = results["counts"]
    named, drawn = played["next_speaker_named"], played["next_speaker_drawn"]
    ends = {
        "rounds": "at the maximum number of turns",
        "end_chat": "by the next-speaker model",
        "failed": "by a failure",
    }
    rows: list[list[object]] = [
        *([f"scenes that ended {ends.get(end, escape(end))}", count] for end, count in played["ended_by"].items()),
        ["next speaker named by the model", f"{named:,}{f' ({percent(named / (named + drawn))})' if named else ''}"],
        ["next speaker drawn at random, as the answer named none", drawn],
        ["turns without visible text", played["empty_turns"]],
        ["repeated calls for such a turn", played["repeated_calls"]],
        ["turns truncated where the model continued as another speaker", played["cut_where_another_speaks"]],
        ["turns without an end-of-turn token", played["not_ended_by_model"]],
        ["turns dropped to fit the context window", played["turns_dropped_to_fit"]],
    ]
    return "## Simulation\n\n" + table(["event", "count"], rows)


def _coser_failures(results: Results) -> str:
    rows = [
        [*map(escape, row["key"]), escape(row["cause"]), escape(row["detail"], limit=300)]
        for row in results["missing"]["failures"]
    ]
    return failures_section(counted(len(rows), "scene"), ["book", "i_p", "i_c", "cause", "detail"], rows)


def _coser_commands(results: Results) -> str:
    settings = results["settings"]
    play: list[Flag] = []
    judge: list[Flag] = []
    if "actor" in settings:
        for role in ("actor", "environment", "next_speaker"):
            play += model_flags(role, settings.get(role))
        names = ("style", "rounds", "continue_from", "max_tokens", "temperature")
        play += option_flags(settings, {name: f"--{name.replace('_', '-')}" for name in names})
        if settings.get("memory", "none") != "none":
            play += [("--retrieval", settings["memory"].split()[0]), ("--books", "BOOKS")]
    if is_judged(results):
        for number, one in enumerate(settings.get("judges", ()), start=1):
            judge += model_flags("judge", one, f"JUDGE_{number}_URL")
        options = {"judge_thoughts": "--judge-thoughts", "judge_samples": "--judge-samples"}
        judge += option_flags(settings, {**options, "judge_max_tokens": "--judge-max-tokens"})
    where: list[Flag] = [("--scenes", "SCENES"), ("--limit", results["counts"]["scenes"]), ("--out", "DIR")]
    seeds = settings.get("seed"), settings.get("judge_seed")
    return reproduce_section("coser", "scenes", commands(where, play, judge, seeds))
