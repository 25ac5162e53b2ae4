"""Computes `results.json` from dialogues and judgements: a pure function, so equal rows give equal results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

from her_hf.dual_layer import ENVIRONMENT, Turn, View
from her_hf.judging import DIMENSIONS
from her_hf.judging.critics.coser import THOUGHTS
from her_hf.runs.results import envelope, missing_part
from her_hf.scenes import Scene
from her_hf.scoring.agreement import krippendorff_alpha, mean_absolute_difference
from her_hf.scoring.coser import case_score, coser_score, group_means, read_severity, summarize_cases
from her_hf.scoring.dialogues import DialogueScores, SampledDialogue
from her_hf.scoring.overlap import bleu, dialogue_text, rouge_l
from her_hf.scoring.replies import SampledReply
from her_hf.scoring.statistics import bootstrap_interval

from ..rows import Row, SceneKey, failure_in, notation_of, scene_key, turns_of


def coser_results(
    scenes: Sequence[Scene], dialogues: Iterable[Row], judgements: Iterable[Row] | None, settings: Mapping[str, Any]
) -> Row:
    """The results of one evaluation.

    Args:
        scenes (`Sequence[Scene]`): The scenes.
        dialogues (`Iterable[dict]`): Rows of `dialogues.jsonl`, one per scene, in the same order; read once. No
            transcript is kept, but the texts that Self-BLEU compares.
        judgements (`Iterable[dict]`, *optional*): Rows of `judgements.jsonl`, read once; `None` without judges.
        settings (`Mapping`): The settings of simulation and judges.

    Returns:
        `dict`: The envelope, see [`~her_hf.runs.envelope.CoserResults`]. Without judges it has no scores, and
            `missing` counts dialogues; otherwise it counts judgements.
    """
    by_key = {scene.key: scene for scene in scenes}
    thoughts = str(settings.get("judge_thoughts", "coser"))
    played: list[Row] = []
    cases: list[Row] = []
    form = DialogueScores()
    for row in dialogues:
        played.append(_played(row))
        if row.get("ended_by") != "failed":
            scene = by_key[scene_key(row)]
            cases.append(_case(scene, row, thoughts))
            form.add(_sampled(scene, row))
    failures = [{"key": row["key"], **failure} for row in played if (failure := row["failure"])]
    judged: Row = {"counts": None, "intervals": None, "figures": dict.fromkeys(_JUDGED)}
    missing = missing_part("dialogue", len(played), Counter(one["cause"] for one in failures), failures)
    if judgements is not None:
        given = _Judgements({tuple(case["key"]): case["character_turns"] for case in cases})
        for row in judgements:
            given.add(row)
        raters = given.raters
        wanted = len(settings.get("judges") or [None]) * int(settings.get("judge_samples", 1))
        for case in cases:
            case |= _case_scores(given.scored, scene_key(case), raters)
        judged = _judged(cases, played, given, by_key, max(wanted, len(raters)))
        judged["figures"]["agreement"] = _agreement(given.scored, raters, cases)
        missing = _missing(played, given, max(wanted, len(raters)), failures)
    overlap = {
        name: fmean(found) if (found := [case[name] for case in cases if case[name] is not None]) else None
        for name in ("bleu", "rouge_l")
    }
    return envelope(
        "coser",
        settings=settings,
        counts={**_counts(played), "judged": judged["counts"]},
        missing=missing,
        figures={**judged["figures"], "overlap": overlap, "form": form.figures() if form.replies else None},
        intervals=judged["intervals"],
        cases=cases,
    )


_JUDGED = ("scores", "by_judge", "by_tag", "by_book", "agreement")
_UNSCORED: Row = {**dict.fromkeys((*DIMENSIONS, "avg")), "judges": {}}


def _played(row: Row) -> Row:
    """A dialogue without its text: its key, how it ended, and counts."""
    models = [turn for turn in row.get("turns") or [] if turn.get("origin", "model") == "model"]
    return {
        "key": row["key"],
        "ended_by": row.get("ended_by"),
        "failure": failure_in(row),
        "counts": {
            "turns": len(models),
            "character_turns": sum(turn["name"] != ENVIRONMENT for turn in models),
            "next_speaker_named": row.get("named", 0),
            "next_speaker_drawn": row.get("drawn", 0),
            "empty_turns": sum(not turn["text"].strip() for turn in models),
            "repeated_calls": sum(turn.get("attempts", 1) - 1 for turn in models),
            "cut_where_another_speaks": sum(bool(turn.get("cut")) for turn in models),
            "turns_dropped_to_fit": sum(turn.get("dropped", 0) for turn in models),
            "not_ended_by_model": sum(not turn.get("ended", True) for turn in models),
        },
    }


def _counts(dialogues: Sequence[Row]) -> Row:
    names = dict.fromkeys(name for row in dialogues for name in row["counts"])
    return {
        "scenes": len(dialogues),
        "ended_by": dict(sorted(Counter(str(row["ended_by"]) for row in dialogues).items())),
        **{name: sum(row["counts"][name] for row in dialogues) for name in names},
    }


def _sampled(scene: Scene, row: Row) -> SampledDialogue:
    """The models' turns of a dialogue, whose characters' replies are scored."""
    names = tuple(member.name for member in scene.cast)
    notation = notation_of(row)
    replies = [
        SampledReply(
            turn.get("raw", turn["text"]), turn["name"], names, bool(turn.get("ended", True)), notation=notation
        )
        for turn in row.get("turns") or []
        if turn.get("origin", "model") == "model"
    ]
    return SampledDialogue.of_scene(replies, scene)


def _case(scene: Scene, row: Row, thoughts: str) -> Row:
    """A scene's case before its scores are added."""
    turns = turns_of(row)
    reference, played = (_text(side, thoughts) for side in (scene.dialogue, turns))
    played_by_models = [turn for turn in row["turns"] if turn.get("origin", "model") == "model"]
    comparable = bool(scene.dialogue) and bool(reference.strip())
    return {
        "key": row["key"],
        "tag": scene.tag,
        "language": scene.language,
        "character_turns": sum(turn["name"] != ENVIRONMENT for turn in played_by_models),
        "bleu": bleu(reference, played) if comparable else None,
        "rouge_l": rouge_l(reference, played) if comparable else None,
        **_UNSCORED,
    }


def _text(turns: Sequence[Turn], thoughts: str) -> str:
    view: View = THOUGHTS[thoughts]
    return dialogue_text([(turn.name or "", turn.render("coser", view)) for turn in turns])


# -- scores

Rater = tuple[str, int]
"""(judge, sample)."""

Scored = dict[tuple[SceneKey, str, Rater], float | None]


class _Judgements:
    """What the results need of judgements, which are added one at a time.

    Args:
        character_turns (`Mapping`): By key of a scene that was played, its turns by characters.

    Attributes:
        scored (`Scored`): The score of each judgement; `None` if it is missing.
    """

    def __init__(self, character_turns: Mapping[tuple[Any, ...], int]) -> None:
        self._character_turns = character_turns
        self.scored: Scored = {}
        self.causes: Counter[str] = Counter()
        self.missing_by_dimension: Counter[str] = Counter()
        self.flaws: dict[str, dict[str, Counter[str]]] = {dimension: {} for dimension in DIMENSIONS}
        self.repaired = self.unrated = self.other_types = 0

    def add(self, row: Row) -> None:
        key, dimension = scene_key(row), str(row["dimension"])
        score = None if row["flaws"] is None else coser_score(row["flaws"], self._character_turns[key])
        self.scored[key, dimension, (str(row["judge"]), int(row["sample"]))] = score
        if row["missing"]:
            self.causes[row["missing"]["cause"]] += 1
            self.missing_by_dimension[dimension] += 1
            return
        for flaw in row["flaws"]:
            kind, severity = str(flaw.get("type") or "(no type)"), format(read_severity(flaw), "g")
            self.flaws[dimension].setdefault(kind, Counter())[severity] += 1
        self.repaired += bool(row.get("repaired"))
        self.unrated += row.get("unrated", 0)
        self.other_types += row.get("other_types", 0)

    @property
    def raters(self) -> list[Rater]:
        return sorted({rater for _, _, rater in self.scored})


def _case_scores(scored: Scored, key: SceneKey, raters: Sequence[Rater]) -> Row:
    """A scene's scores by each judge, and the mean over judges if all of them scored it.

    A judge's score is the mean over its available samples, which come from one distribution. Judges differ in
    severity, so a mean over only some of them would be biased towards these.
    """
    judges: dict[str, Row] = {}
    for judge, own in groupby(raters, key=lambda rater: rater[0]):
        samples = list(own)
        columns = {
            dimension: [score for rater in samples if (score := scored.get((key, dimension, rater))) is not None]
            for dimension in DIMENSIONS
        }
        judges[judge] = _with_average({name: fmean(column) if column else None for name, column in columns.items()})
    mean: dict[str, float | None] = {}
    for dimension in DIMENSIONS:
        scores = [of[dimension] for of in judges.values()]
        mean[dimension] = fmean(scores) if scores and None not in scores else None
    return {**_with_average(mean), "judges": judges}


def _with_average(scores: dict[str, float | None]) -> Row:
    return {**scores, "avg": case_score(scores)}


def _judged(
    cases: Sequence[Row],
    dialogues: Sequence[Row],
    judgements: _Judgements,
    scenes: Mapping[SceneKey, Scene],
    raters: int,
) -> Row:
    """Scores, intervals, tables and counts; a failed scene counts as missing in all of them."""
    found = {tuple(case["key"]): case for case in cases}
    rows = [found.get(scene_key(row), _UNSCORED) for row in dialogues]
    tables = [{dimension: row[dimension] for dimension in DIMENSIONS} for row in rows]
    total = summarize_cases(tables)
    columns = [list(table.values()) for table in tables]
    intervals = {
        dimension: bootstrap_interval([row[at] for row in columns]) for at, dimension in enumerate(DIMENSIONS)
    }
    intervals["avg"] = bootstrap_interval(columns)
    return {
        "intervals": {name: list(ends) if ends else None for name, ends in intervals.items()},
        "figures": {
            "scores": total["scores"],
            "by_judge": _by_judge(cases, dialogues),
            "by_tag": group_means(tables, [scenes[scene_key(row)].tag or "(none)" for row in dialogues]),
            "by_book": group_means(tables, [row["key"][0] for row in dialogues]),
        },
        "counts": {
            "scored": total["cases"],
            "unscored": total["missing"],
            **_judgement_counts(cases, dialogues, judgements, raters),
        },
    }


def _by_judge(cases: Sequence[Row], dialogues: Sequence[Row]) -> dict[str, Any]:
    """Each judge's scores over the scenes that it scored."""
    found = {scene_key(case): case["judges"] for case in cases}
    names = list(dict.fromkeys(judge for judges in found.values() for judge in judges))
    tables = {
        judge: [
            {dimension: found.get(scene_key(row), {}).get(judge, _UNSCORED)[dimension] for dimension in DIMENSIONS}
            for row in dialogues
        ]
        for judge in names
    }
    return {judge: summarize_cases(rows) for judge, rows in tables.items()}


def _judgement_counts(cases: Sequence[Row], dialogues: Sequence[Row], judgements: _Judgements, raters: int) -> Row:
    """Counts of flaws, and of judgements that needed a repair or a default rule."""
    failed = sum(row["ended_by"] == "failed" for row in dialogues)
    return {
        "left_out": {
            dimension: sum(
                0 < sum(of[dimension] is not None for of in case["judges"].values()) < len(case["judges"])
                for case in cases
            )
            for dimension in DIMENSIONS
        },
        "missing_by_dimension": {
            dimension: judgements.missing_by_dimension[dimension] + failed * raters for dimension in DIMENSIONS
        },
        "repaired": judgements.repaired,
        "flaws": {
            dimension: {kind: dict(sorted(counts.items())) for kind, counts in sorted(kinds.items())}
            for dimension, kinds in judgements.flaws.items()
        },
        "flaws_without_severity": judgements.unrated,
        "flaws_of_another_type": judgements.other_types,
    }


def _missing(dialogues: Sequence[Row], judgements: _Judgements, raters: int, failures: Sequence[Row]) -> Row:
    """Missing judgements; all judgements of a failed scene are missing."""
    causes = Counter(judgements.causes)
    if failed := sum(row["ended_by"] == "failed" for row in dialogues):
        causes["dialogue"] = failed * len(DIMENSIONS) * raters
    return missing_part("judgement", len(dialogues) * len(DIMENSIONS) * raters, causes, failures)


def _agreement(scored: Scored, raters: Sequence[Rater], cases: Sequence[Row]) -> Row | None:
    """Agreement of judges and samples on scores; `None` with fewer than two."""
    if len(raters) < 2:
        return None
    found: Row = {"raters": [f"{judge}, sample {sample + 1}" for judge, sample in raters]}
    for dimension in (*DIMENSIONS, "all"):
        units = [(scene_key(case), name) for case in cases for name in DIMENSIONS if dimension in (name, "all")]
        table = [[scored.get((key, name, rater)) for key, name in units] for rater in raters]
        found[dimension] = {
            "krippendorff_alpha": krippendorff_alpha(table, level="interval"),
            "mean_absolute_difference": mean_absolute_difference(table),
        }
    return found
