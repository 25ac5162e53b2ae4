"""Reports of evaluations: Markdown beside its plots, every number from `results.json`.

Names, causes and whatever else a model, a server or a file of scenes wrote is escaped.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from her_hf.durable import replace_text
from her_hf.judging.missing import CAUSES
from her_hf.scoring.coser import DIMENSIONS
from her_hf.scoring.minimax import PILLARS

from .plots import NO_TAG, draw_by_tag, draw_curve, draw_pillars, draw_scores, has_tags_to_draw, tag_intervals
from .published import PUBLISHED, SOURCE

REPORT = "report.md"
FOLD_FROM = 13
"""Rows from which on a table is shut until it is clicked on."""

Results = Mapping[str, Any]
Section = Callable[[Results], str]
Flag = tuple[str, object]
"""An option and its value; `None` if it takes none."""

_MARKS = re.compile(r"([\\`*_\[\]|~$#])")
_LINKS = re.compile(r"://|\bwww\.", re.IGNORECASE)
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def write_report(results: Results, out: Path) -> Path:
    """Writes `report.md` of a CoSER run and its PNG plots into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.evaluation.gca_results.gca_results`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Of a run that was not judged it has no scores, and says so.
    """
    out.mkdir(parents=True, exist_ok=True)
    judged: list[Section] = []
    if "scores" in results:
        draw_scores(results, out / "scores.png")
        draw_by_tag(results, out / "by_tag.png")
        judged = [_missing_first, _scores, _by_tag, _by_book, _agreement, _coser_missing, _coser_published]
    return _write(
        [_coser_head, *judged, _form, _overlap, _coser_played, _coser_failures, _settings, _coser_commands],
        results,
        out,
    )


def write_minimax_report(results: Results, out: Path) -> Path:
    """Writes `report.md` of a reenactment run and its PNG plots into `out`.

    Args:
        results (`Mapping`): Contents of `results.json`; see [`~her_hf.evaluation.minimax_results.minimax_results`].
        out (`Path`): Folder of the report.

    Returns:
        `Path`: The report. Of a run that was not judged it has no scores, and says so.
    """
    out.mkdir(parents=True, exist_ok=True)
    judged: list[Section] = []
    if "scores" in results:
        draw_pillars(results, out / "pillars.png")
        draw_curve(results, out / "curve.png")
        judged = [_missing_first, _pillars, _curve, _by_language, _by_seed, _errors]
        judged += [_minimax_missing, _minimax_published]
    return _write(
        [_minimax_head, *judged, _minimax_played, _minimax_failures, _settings, _minimax_commands], results, out
    )


def _write(sections: Sequence[Section], results: Results, out: Path) -> Path:
    """Writes the sections that have something to say, in one move."""
    file = out / REPORT
    replace_text(file, "\n\n".join(filter(None, (section(results) for section in sections))) + "\n")
    return file


# -- both: what was asked of whom, and what is missing

NOT_JUDGED = (
    "**Nothing was judged, so there are no scores.** What follows needs no judge. To judge these dialogues, run the "
    "same command with `--judge-only` and a `--judge`."
)


def _missing_first(results: Results) -> str:
    """What a reader must know before any score."""
    missing = results["missing"]
    if not missing["missing"]:
        return f"No judgement is missing: all {missing['expected']:,} are there."
    causes = ", ".join(f"{escape(cause)} {count}" for cause, count in missing["by_cause"].items())
    return (
        f"> **{missing['missing']:,} of {missing['expected']:,} judgements are missing "
        f"({_share(missing['share'])})**: {causes}. They are left out of every mean and stand for no number; see "
        "[below](#missing-judgements)."
    )


def _missing(results: Results, *notes: str) -> str:
    """Missing judgements by cause, and what is said of those that are there."""
    missing = results["missing"]
    rows = [
        [escape(cause), CAUSES.get(cause, ""), count, _share(count / missing["expected"])]
        for cause, count in missing["by_cause"].items()
    ]
    causes = table(["cause", "meaning", "judgements", "share of all"], rows) if rows else "None."
    again = "Requests that failed are made again when the same command is given again."
    return "\n\n".join(
        ["## Missing judgements", causes, *([again] if "request" in missing["by_cause"] else []), *notes]
    )


def _failures(what: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    return (
        f"## Failures\n\n{what} could not be played to the end; their judgements count as missing. The same command "
        f"tries them again.\n\n{_folded(head, rows)}"
    )


def _settings(results: Results) -> str:
    rows = [[escape(name), _setting(value)] for name, value in sorted(results["settings"].items())]
    if not rows:
        return "## Settings\n\nNot recorded: the dialogues do not say how they were played."
    return "## Settings\n\n" + table(["setting", "value"], rows)


def _reproduce(name: str, units: str, commands: Sequence[Sequence[Flag]]) -> str:
    title = "## How to reproduce\n\n"
    if not commands:
        return f"{title}How the dialogues were played is not recorded, so no command can be given."
    shown = "\n".join(_command(name, flags) for flags in commands)
    return (
        f"{title}{units.upper()} stands for the file, folder or Hub dataset of these {units}, DIR for a new folder, "
        "and each URL for a server that offers the model of the name beside it (or a folder, without a name). "
        f"The same command in the same folder goes on after an interruption.\n\n{fence(shown, 'bash')}"
    )


def _commands(where: list[Flag], play: list[Flag], judge: list[Flag], seeds: tuple[Any, Any]) -> list[list[Flag]]:
    """One command for playing and judging if they share their seed; else one for each."""
    if play and judge and seeds[0] == seeds[1]:
        return [[*where, *play, *judge, ("--seed", seeds[0])]]
    steps = [(play, seeds[0], "--simulate-only"), (judge, seeds[1], "--judge-only")]
    return [[*where, *flags, ("--seed", seed), (only, None)] for flags, seed, only in steps if flags]


def _command(name: str, flags: Sequence[Flag]) -> str:
    """A command for a shell, an option with its value on a line."""
    lines = [f"her-hf eval {name}"]
    for option, value in flags:
        text = " ".join(str(value).split())
        between = "=" if text.startswith("-") else " "  # a value that looks like an option is none
        lines.append(option if value is None else f"{option}{between}{shlex.quote(text)}")
    return " \\\n  ".join(lines)


def _model_flags(role: str, fingerprint: object, url: str | None = None) -> list[Flag]:
    option = f"--{role.replace('_', '-')}"
    return [(option, url or f"{role.upper()}_URL"), (f"{option}-model", _plain_name(fingerprint))]


def _options(settings: Results, names: Mapping[str, str]) -> list[Flag]:
    """Options with the values that settings hold; `names` are options by the settings they come from."""
    return [(option, settings[name]) for name, option in names.items() if name in settings]


# -- CoSER


def _coser_head(results: Results) -> str:
    settings, played = results["settings"], results["played"]
    actor = _name(settings.get("actor"))
    spoken = _languages(case["language"] for case in results["cases"])
    lines = [
        f"# CoSER, given-circumstance acting: {actor}",
        f"**{actor}** played every character of {_count(played['scenes'], 'scene')}{spoken}: "
        f"{_count(played['character_turns'], 'turn')} by characters, {played['turns']:,} with Environment's; at most "
        f"{escape(settings.get('rounds', '?'))} turns a scene, spoken to in the style "
        f"“{escape(settings.get('style', '?'))}”. Environment: {_name(settings.get('environment'))}. Next speaker: "
        f"{_name(settings.get('next_speaker'))}.",
    ]
    if "scores" not in results:
        return "\n\n".join([*lines, NOT_JUDGED])
    samples = _count(int(settings.get("judge_samples", 1)), "judgement")
    judges = ", ".join(f"**{_name(judge)}**" for judge in settings.get("judges", ()))
    lines.append(f"Judged by {judges or 'unknown judges'}, {samples} each of every scene in every dimension.")
    return "\n\n".join([*lines, _thoughts(settings)])


def _thoughts(settings: Results) -> str:
    if settings.get("judge_thoughts", "coser") == "her":
        return (
            "Inner thoughts were **kept** in both conversations that the judge read, as HER does. Scores of runs that "
            "remove them (CoSER) do not compare with these."
        )
    return (
        "Inner thoughts were **removed** from both conversations that the judge read, as CoSER does. Scores of runs "
        "that keep them (HER) do not compare with these."
    )


def _scores(results: Results) -> str:
    scores, intervals = results["scores"], results["intervals"]
    there, absent = results["cases_with"], results["cases_without"]
    rows: list[list[object]] = [
        [f"{name} ({code})", _score(scores[code]), _interval(intervals[code]), there[code], absent[code]]
        for code, name in DIMENSIONS.items()
    ]
    rows.append(["**Average**", f"**{_score(scores['avg'])}**", _interval(intervals["avg"]), "", ""])
    return (
        "## Scores\n\nFrom 0 to 100, higher is better. A dimension's score is the mean over the scenes that have one; "
        "the average is the mean of the four dimensions. Intervals: 95% percentile bootstrap over scenes; they say "
        "how much hangs on the choice of scenes, not whether the judge is right.\n\n"
        + table(["dimension", "score", "95% interval", "scenes", "without a score"], rows)
        + "\n\n![Scores with intervals; published ones in a panel of their own](scores.png)"
    )


_GROUP_HEAD = ("scenes", *DIMENSIONS, "average", "scores missing")


def _by_tag(results: Results) -> str:
    tables = results["tables"].get("tag", {})
    if not set(tables) - {NO_TAG}:
        return ""
    plot = "\n\n![Scores by tag](by_tag.png)" if has_tags_to_draw(results) else ""
    ends = {tag: _interval(found["avg"]) for tag, (_, found) in tag_intervals(results["cases"]).items()}
    rows = [[*_group_row(tag, group), ends[tag]] for tag, group in tables.items()]
    return "## By tag\n\n" + table(["tag", *_GROUP_HEAD, "95% interval of the average"], rows) + plot


def _by_book(results: Results) -> str:
    rows = [_group_row(book, group) for book, group in results["tables"].get("book", {}).items()]
    return "## By book\n\n" + _folded(["book", *_GROUP_HEAD], rows) if rows else ""


def _group_row(name: str, group: Results) -> list[object]:
    scenes = group["cases"]["SC"] + group["missing"]["SC"]
    scores = [_score(group["scores"][code]) for code in (*DIMENSIONS, "avg")]
    return [escape(name), scenes, *scores, sum(group["missing"].values())]


def _agreement(results: Results) -> str:
    found = results["agreement"]
    title = "## Agreement between judges\n\n"
    if found is None:
        return (
            f"{title}No scene was judged twice, so nobody can tell how far judges would agree. Several judges "
            "(`--judge` again) or several samples (`--judge-samples`) would show it."
        )
    rows = [
        [
            DIMENSIONS.get(code, "**all four**"),
            _number(found[code]["krippendorff_alpha"], ".2f"),
            _number(found[code]["mean_absolute_difference"], ".1f"),
        ]
        for code in (*DIMENSIONS, "all")
    ]
    return (
        f"{title}Scores by {'; '.join(map(escape, found['raters']))}. Krippendorff's alpha (interval level): 1 is "
        "full agreement, 0 is chance. A dash: not defined, because no scene was scored twice, or all got the same "
        "score.\n\n" + table(["dimension", "alpha", "mean difference of two scores (points)"], rows)
    )


def _coser_missing(results: Results) -> str:
    missing = results["missing"]
    by_dimension = table(list(DIMENSIONS.values()), [[missing["by_dimension"][code] for code in DIMENSIONS]])
    return _missing(
        results,
        *([by_dimension] if missing["missing"] else []),
        f"Of those that are there, {missing['repaired']:,} came as JSON that had to be mended. Of their flaws "
        f"{missing['flaws_without_severity']:,} had no severity and counted 1, and "
        f"{missing['flaws_of_another_type']:,} were of a type that was not asked for and counted all the same.",
    )


def _coser_published(results: Results) -> str:
    rows = [[escape(row.model), *(f"{score:.2f}" for score in row.coser)] for row in PUBLISHED]
    return (
        "## Published results: another judge, another protocol\n\n"
        f"Copied from the paper ({SOURCE}), **not measured here**. Its judge, prompts and limits are not those of "
        "this run, and its released code keeps inner thoughts, so **absolute values do not compare**. Only runs with "
        "the same scenes, judges and settings do: `her-hf eval compare`.\n\n"
        + table(["model (published)", "average", *DIMENSIONS], rows)
    )


def _form(results: Results) -> str:
    form, title = results["form"], "## Dual-layer form"
    if form is None:
        return f"{title}\n\nNo reply of a character came from a model, so there is nothing to measure."
    told = f"Of {_count(form['replies'], 'reply', 'replies')} by characters; no judge is needed."
    if results["settings"].get("style", "her") != "her":
        told += " This style asks for no system thinking, and without it no reply counts as well-formed."
    issues = ", ".join(f"{escape(issue)} {count}" for issue, count in form["issues"].items())
    return "\n\n".join(
        [title, told, table(["figure", "value"], _form_rows(form)), f"Replies with each issue: {issues or 'none'}."]
    )


def _form_rows(form: Results) -> list[list[object]]:
    patterns, leaks = form["patterns"], form["leaks"]
    lengths = [
        [f"characters a turn, {layer.replace('_', ' ')}", f"{size:,.0f}"] for layer, size in form["characters"].items()
    ]
    return [
        [
            "well-formed (one closed system block, own label, something visible, no issue, ended)",
            _share(form["well_formed"]),
        ],
        ["in role (own label, speaks for nobody else)", _share(form["own_role"])],
        ["ended by the model itself", _share(form["ended"])],
        ["something that others can see", _share(form["visible"])],
        ["a leak of either kind", _share(form["leak_rate"])],
        ["own thinking reached speech", _share(leaks["spoken_thoughts"])],
        ["another's thought was known", _share(leaks["known_secrets"])],
        ["distinct patterns (T role thinking, A action, S speech)", patterns["distinct"]],
        ["commonest pattern", f"{escape(patterns['top']) or '–'}, {_share(patterns['top_share'])}"],
        ["entropy of patterns, nats", _number(patterns["entropy"], ".2f")],
        ["Self-BLEU-4 (lower is more varied)", _number(form["self_bleu"], ".4f")],
        *lengths,
    ]


def _overlap(results: Results) -> str:
    row = [_number(results["overlap"][name], ".4f") for name in ("bleu", "rouge_l")]
    return (
        "## Overlap with the original\n\nBLEU (4-gram, unsmoothed) and ROUGE-L against the book's conversation, means "
        "over scenes, from 0 to 1. A good performance may go its own way, so low values alone are no fault.\n\n"
        + table(["BLEU", "ROUGE-L"], [row])
    )


def _coser_played(results: Results) -> str:
    played = results["played"]
    named, drawn = played["next_speaker_named"], played["next_speaker_drawn"]
    ends = {"rounds": "at the most turns", "end_chat": "by the next-speaker model", "failed": "by a failure"}
    rows: list[list[object]] = [
        *([f"scenes that ended {ends.get(end, escape(end))}", count] for end, count in played["ended_by"].items()),
        ["next speaker named by the model", f"{named:,}{f' ({_share(named / (named + drawn))})' if named else ''}"],
        ["next speaker drawn by lot, as the answer named none", drawn],
        ["turns without anything visible", played["empty_turns"]],
        ["calls made again for such a turn", played["asked_again"]],
        ["turns cut where the model went on as somebody else", played["cut_where_another_speaks"]],
        ["turns that the model did not end itself", played["not_ended_by_model"]],
        ["messages left out so that a prompt fits", played["messages_dropped_to_fit"]],
    ]
    return "## How the scenes went\n\n" + table(["what", "count"], rows)


def _coser_failures(results: Results) -> str:
    rows = [
        [*map(escape, row["key"]), escape(row.get("kind", "?")), escape(row.get("message", ""), most=300)]
        for row in results["played"]["failed"]
    ]
    return _failures(_count(len(rows), "scene"), ["book", "i_p", "i_c", "cause", "what was said"], rows)


def _coser_commands(results: Results) -> str:
    settings = results["settings"]
    play: list[Flag] = []
    judge: list[Flag] = []
    if "actor" in settings:
        for role in ("actor", "environment", "next_speaker"):
            play += _model_flags(role, settings.get(role))
        names = ("style", "rounds", "continue_from", "max_tokens", "temperature")
        play += _options(settings, {name: f"--{name.replace('_', '-')}" for name in names})
        if settings.get("memory", "none") != "none":
            play += [("--retrieval", settings["memory"]), ("--books", "BOOKS")]
    if "scores" in results:
        for number, one in enumerate(settings.get("judges", ()), start=1):
            judge += _model_flags("judge", one, f"JUDGE_{number}_URL")
        options = {"judge_thoughts": "--thoughts", "judge_samples": "--judge-samples"}
        judge += _options(settings, {**options, "judge_max_tokens": "--judge-tokens"})
    where: list[Flag] = [("--scenes", "SCENES"), ("--limit", results["played"]["scenes"]), ("--out", "DIR")]
    seeds = settings.get("seed"), settings.get("judge_seed")
    return _reproduce("coser", "scenes", _commands(where, play, judge, seeds))


# -- reenactment


def _minimax_head(results: Results) -> str:
    settings, played = results["settings"], results["played"]
    npc, user = _name(settings.get("npc")), _name(settings.get("user"))
    lines = [
        f"# Situated reenactment, MiniMax-style: {npc}",
        f"**{npc}** played the character of {_count(played['seeds'], 'seed')} against {user} as the user: "
        f"{_count(played['sessions'], 'dialogue')}, {_count(played['turns'], 'generated turn')}; spoken to in the "
        f"style “{escape(settings.get('style', '?'))}”. Only the character's side is judged.",
    ]
    if "scores" not in results:
        return "\n\n".join([*lines, NOT_JUDGED])
    lines.append(
        f"Judged by **{_name(settings.get('judge'))}** in chunks of {escape(settings.get('judge_chunk', '?'))} turns. "
        f"**{escape(results['scale'], most=400)}**"
    )
    return "\n\n".join(lines)


def _pillars(results: Results) -> str:
    scores, intervals = results["scores"], results["intervals"]
    rows = [["**Overall**", "", f"**{_score(scores['overall'])}**", _interval(intervals["overall"])]]
    for pillar, columns in PILLARS.items():
        weight = f"{results['weights'][pillar]:.0%} of overall"
        rows.append([f"**{pillar.title()}**", weight, *_found(scores, intervals, "pillars", pillar)])
        rows += [[_column(column), "", *_found(scores, intervals, "columns", column)] for column in columns]
    penalties = ", ".join(f"{escape(name)} {points:g}" for name, points in results["penalties"].items())
    return (
        "## Scores\n\nFrom 0 to 100, higher is better. In each chunk a column starts at 100 and loses points for each "
        f"error ({penalties}), down to 0; then means over chunks, over the runs of a seed, and over seeds. Scored: "
        f"{results['seeds']} seeds ({results['missing_seeds']} not), {results['sessions']} dialogues "
        f"({results['missing_sessions']} not). Intervals: 95% percentile bootstrap over seeds.\n\n"
        + table(["", "weight", "score", "95% interval"], rows)
        + "\n\n![Scores with intervals; published ones in a panel of their own](pillars.png)"
    )


def _found(scores: Results, intervals: Results, kind: str, name: str) -> list[str]:
    return [_score((scores[kind] or {}).get(name)), _interval((intervals[kind] or {}).get(name))]


def _column(name: str) -> str:
    return name.removesuffix("_score").replace("_", " ")


def _curve(results: Results) -> str:
    rows = [
        [f"{point['first_turn']}–{point['last_turn']}", _score(point["mean"]), point["n"]]
        for point in results["curve"]
    ]
    if not rows:
        return ""
    return (
        "## Quality against turn number\n\nMean overall score of the chunks at each place; turns of both sides are "
        "counted, after the two scripted ones.\n\n"
        + table(["turns", "mean overall", "dialogues judged there"], rows)
        + "\n\n![Quality against turn number](curve.png)"
    )


def _by_language(results: Results) -> str:
    head = ["language", "seeds", "dialogues", "overall", "95% interval", *map(str.title, PILLARS), "dialogues missing"]
    rows = []
    for language, found in results["by_language"].items():
        scores = found["scores"]
        pillars = [_score((scores["pillars"] or {}).get(name)) for name in PILLARS]
        ends = _interval(found["intervals"]["overall"])
        counts = [found["seeds"] + found["missing_seeds"], found["sessions"] + found["missing_sessions"]]
        rows.append([escape(language), *counts, _score(scores["overall"]), ends, *pillars, found["missing_sessions"]])
    return "## By language\n\n" + table(head, rows)


def _by_seed(results: Results) -> str:
    seeds: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for case in results["cases"]:
        seeds[case["language"], case["seed_id"]].append(case["overall"])
    rows = []
    for (language, seed), found in seeds.items():
        there = [score for score in found if score is not None]
        rows.append([escape(language), escape(seed), len(found), len(found) - len(there), _score(_mean(there))])
    return "## By seed\n\n" + _folded(["language", "seed", "runs", "runs missing", "overall"], rows)


def _errors(results: Results) -> str:
    names = list(results["penalties"])
    rows = [
        [_column(column), *(found[name] for name in names), sum(found.values())]
        for column, found in results["errors"].items()
    ]
    return "## Errors found\n\n" + table(["column", *map(escape, names), "all"], rows)


def _minimax_missing(results: Results) -> str:
    missing = results["missing"]
    return _missing(
        results,
        f"Of those that are there, {missing['repaired']:,} came as JSON that had to be mended. Of their "
        f"{missing['errors']:,} errors {missing['errors_without_severity']:,} had no severity and counted as minor, "
        f"and of {missing['quotes_not_found']:,} the quote does not stand in the turn that it names; they counted all "
        "the same.",
    )


def _minimax_published(results: Results) -> str:
    rows = [
        [escape(row.model), *(f"{score:.2f}" for score in row.minimax[:4]), f"[{row.minimax.low}, {row.minimax.high}]"]
        for row in PUBLISHED
    ]
    return (
        "## Published results: another judge, another scale\n\n"
        f"Copied from the paper ({SOURCE}), **not measured here**. MiniMax publishes neither its judge and prompts "
        "nor its user simulator and penalties, so **absolute values do not compare**. How far a judge ranks as theirs "
        "does is what `her-hf eval minimax calibrate` tells; runs with the same seeds and judge compare by "
        "`her-hf eval compare`.\n\n"
        + table(["model (published)", "average", *map(str.title, PILLARS), "95% interval"], rows)
    )


def _minimax_played(results: Results) -> str:
    played = results["played"]
    sides = {"ai": "the character", "user": "the user"}
    ends = {"turns": "after all turns", "failed": "by a failure"}
    rows: list[list[object]] = [
        *([f"dialogues that ended {ends.get(end, escape(end))}", count] for end, count in played["ended_by"].items()),
        *([f"turns of {name} without anything visible", played["empty_turns"][side]] for side, name in sides.items()),
        ["calls made again for such a turn", played["asked_again"]],
        *(
            [f"dialogues in which prompts of {name} left turns out", played["sessions_with_dropped_turns"][side]]
            for side, name in sides.items()
        ),
    ]
    return "## How the dialogues went\n\n" + table(["what", "count"], rows)


def _minimax_failures(results: Results) -> str:
    names = ("language", "seed_id", "run", "round", "cause")
    rows = [
        [*(escape(row.get(name, "?")) for name in names), escape(row.get("detail", ""), most=300)]
        for row in results["played"]["failed"]
    ]
    head = ["language", "seed", "run", "broke off at turn", "cause", "what was said"]
    return _failures(_count(len(rows), "dialogue"), head, rows)


def _minimax_commands(results: Results) -> str:
    settings = results["settings"]
    play: list[Flag] = []
    judge: list[Flag] = []
    if "npc" in settings:
        play = [*_model_flags("npc", settings["npc"]), *_options(settings, {"style": "--npc-style"})]
        play += [*_model_flags("user", settings.get("user")), *_options(settings, {"turns": "--turns"})]
    if "scores" in results:
        judge = _model_flags("judge", settings.get("judge"))
        judge += _options(settings, {"judge_chunk": "--chunk", "judge_max_tokens": "--judge-tokens"})
    where: list[Flag] = [("--seeds", "SEEDS"), ("--limit", results["played"]["seeds"])]
    where += [*_options(settings, {"runs": "--runs"}), ("--out", "DIR")]
    seeds = settings.get("seed"), settings.get("judge_seed")
    return _reproduce("minimax", "seeds", _commands(where, play, judge, seeds))


# -- Markdown


def escape(value: object, most: int = 160) -> str:
    """Any text as a piece of a line of Markdown that shows it and does nothing else: no markup, cell, HTML or link.

    Args:
        value (`object`): What is shown.
        most (`int`, *optional*, defaults to 160): Longest text; more is cut, with a mark.

    Example:

    ```python
    >>> print(escape("a|b <script>"))
    a\\|b &lt;script&gt;
    ```
    """
    text = " ".join(_BIDI.sub("", str(value)).split())
    text = "".join(sign for sign in text if unicodedata.category(sign) not in ("Cc", "Cs"))
    text = text if len(text) <= most else text[: most - 1] + "…"
    text = _MARKS.sub(r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINKS.sub(lambda found: found[0].replace("://", "\\://").replace(".", "\\."), text)


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; foreign text in cells must be escaped already."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def fence(text: str, language: str = "text") -> str:
    """A fenced block that no text can close early."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}{language}\n{text.strip()}\n{ticks}"


def _folded(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table; a long one is shut until it is clicked on."""
    text = table(head, rows)
    if len(rows) < FOLD_FROM:
        return text
    return f"<details><summary>{len(rows)} rows</summary>\n\n{text}\n\n</details>"


def _plain_name(fingerprint: object) -> str:
    name = fingerprint.get("model") if isinstance(fingerprint, Mapping) else fingerprint
    return " ".join(str(name or "?").split())


def _name(fingerprint: object) -> str:
    """A model's name; what is not recorded is said to be so."""
    return escape(_plain_name(fingerprint), most=80) if fingerprint else "a model that is not recorded"


def _setting(value: object) -> str:
    """A setting's value: of a model's fingerprint all parts, of digests the first characters."""
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(name)} {_setting(inner)}" for name, inner in sorted(value.items()))
    if isinstance(value, list | tuple):
        return "; ".join(map(_setting, value))
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{40,}", text) else escape(text)


def _languages(codes: Iterable[str]) -> str:
    """By language how many there are, if there are several."""
    counts = sorted(Counter(codes).items())
    return f" ({', '.join(f'{escape(code)} {count}' for code, count in counts)})" if len(counts) > 1 else ""


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _score(value: float | None) -> str:
    return _number(value, ".2f")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _share(value: float) -> str:
    return f"{value:.1%}"


def _interval(ends: Sequence[float] | None) -> str:
    return f"[{ends[0]:.1f}, {ends[1]:.1f}]" if ends else "–"
