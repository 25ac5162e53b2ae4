"""What the original code returned (../shared/reference/conformance.json) against what scoring returns.

Every entry about scores and overlap is met (to 1e-12), or is listed with our value and the reason why the original is
wrong (`WRONG`). `None` is a missing judgement: our functions refuse the flaws, and the case is excluded and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from her_hf.scoring.coser import coser_score, summarize_cases
from her_hf.scoring.overlap import bleu, dialogue_text, rouge_l

Entry = dict[str, Any]


def score(flaws: list[Any], turns: int) -> float | None:
    """The score, or `None` where the judgement is missing."""
    try:
        return coser_score(flaws, turns)
    except ValueError:
        return None


def formula(entry: Entry) -> object:
    severities = entry["input"]["severities"]
    return score([{"severity": severity} for severity in severities], entry["input"]["non_env_messages"])


def overlap(entry: Entry) -> list[float]:
    reference = dialogue_text((turn["character"], turn["message"]) for turn in entry["input"]["reference"])
    simulation = "\n".join(turn["content"] for turn in entry["input"]["simulation"])
    return [bleu(reference, simulation), rouge_l(reference, simulation)]


def parsed_answer(entry: Entry) -> object:
    """The flaws of the answer's first object; that the answer is read at all is the part of judging."""
    answer, _ = json.JSONDecoder().raw_decode(entry["input"]["response"])
    return score(answer["D"]["flaws"], entry["input"]["actor_rounds"])


def judged_run(entry: Entry) -> object:
    """The average of a run of one case; without a judgement there is none."""
    if not isinstance(entry["input"], dict):
        return summarize_cases([{}])["scores"]["avg"]
    severities = entry["input"]["severities_per_dimension"]
    flaws = [{} if severity == "MISSING" else {"severity": severity} for severity in severities]
    dimensions = dict.fromkeys(("SC", "AN", "CF", "SQ"), score(flaws, entry["input"]["non_env_messages"]))
    return summarize_cases([dimensions])["scores"]["avg"]


OURS: dict[str, Callable[[Entry], object]] = {
    "C-SCR": formula,
    "C-BLR": overlap,
    "E-CJDG": judged_run,
    "E-HJDG": judged_run,
    "H-PEV": parsed_answer,
}
ELSEWHERE = {"E-CJDG-04": "about the critic's prompt, not about a score"}

EPSILON = "its library adds 1e-8 to the denominator of F1, so that equal texts do not reach 1; we do not"
WRONG: dict[str, tuple[object, str]] = {
    "C-BLR-01": ([1.0, 1.0], EPSILON),
    "C-BLR-03": ([0.616380166419073, 22 / 26], EPSILON),
    "E-CJDG-01": (None, "true is no severity; and a string or a fraction was dropped as if the flaw were not there"),
    "E-CJDG-02": (None, "a judge without JSON ended the whole run; it is one missing judgement"),
    "E-CJDG-03": (None, "a judge with the wrong key ended the whole run; it is one missing judgement"),
    "E-HJDG-01": (None, "a judge that does not exist gave full marks; without a judgement there is no score"),
    "E-HJDG-03": (None, "a judge that answers prose gave 50 points; without a judgement there is no score"),
    "H-PEV-07": (None, "true is no severity; and the string was dropped as if the flaw were not there"),
    "H-PEV-08": (85.0, "text after the object cost the judgement, which became 50; one flaw of 3 in no turns is 85"),
    "H-PEV-09": (None, "a flaw that is no object ended the run; the judgement is missing"),
    "H-PEV-10": (None, "a negative severity gave full marks; it is none, and the judgement is missing"),
}


def original(entry: Entry) -> object:
    """The original's value in the shape that ours has."""
    value = entry["original_output"]
    return value.get("score", value.get("avg")) if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def entries(shared: Path) -> dict[str, Entry]:
    path = shared / "reference" / "conformance.json"
    if not path.is_file():
        pytest.skip("needs ../shared/reference/conformance.json, which is not there")
    found = {entry["id"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))}
    return {name: e for name, e in found.items() if name.rsplit("-", 1)[0] in OURS and name not in ELSEWHERE}


def ours(entry: Entry) -> object:
    return OURS[entry["id"].rsplit("-", 1)[0]](entry)


def equal(one: Any, other: Any) -> bool:
    return bool(one == other or (None not in (one, other) and one == pytest.approx(other, abs=1e-12)))


def test_every_entry_is_met_or_explained(entries: dict[str, Entry]) -> None:
    assert set(WRONG) <= set(entries) and all(reason for _, reason in WRONG.values())
    met = {
        name for name, entry in entries.items() if equal(ours(entry), original(entry)) and "raises" not in str(entry)
    }
    assert not met & set(WRONG), f"listed, but met: {sorted(met & set(WRONG))}"
    assert set(entries) - met == set(WRONG), "neither met nor explained"
    assert {"C-SCR-01", "C-SCR-02", "C-SCR-03", "C-SCR-05", "C-SCR-07", "H-PEV-02"} == met


@pytest.mark.parametrize("name", sorted(WRONG))
def test_our_value_where_the_original_is_wrong(entries: dict[str, Entry], name: str) -> None:
    assert equal(ours(entries[name]), WRONG[name][0])


@pytest.mark.parametrize("name", ["C-BLR-01", "C-BLR-03"])
def test_bleu_is_met_and_rouge_but_for_the_epsilon(entries: dict[str, Entry], name: str) -> None:
    our_bleu, our_rouge = overlap(entries[name])
    their_bleu, their_rouge = entries[name]["original_output"]
    assert our_bleu == pytest.approx(their_bleu, abs=1e-12)
    assert our_rouge == pytest.approx(their_rouge, abs=1e-8)
