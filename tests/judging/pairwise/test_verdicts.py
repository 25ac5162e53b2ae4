"""Reading answers of judges and reward models: strict, repaired, missing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from her_hf.judging import Missing, Verdict, parse_verdict
from her_hf.judging.pairwise.answers import compact_answer, published_answer
from her_hf.judging.pairwise.pairs import Compared
from her_hf.judging.pairwise.verdicts import CompactVerdict, Score, parse_score, verdict_schema
from tests.support.pairs import a_pair


def published(**overrides: Any) -> dict[str, Any]:
    comparison = {"principle_name": "Subtext", "winner": "cand_2", "comparison_reason": "hides more"}
    value = {
        "cand_1": "shouts",
        "cand_2": "hints",
        "principle": {"P1": {"principle_name": "Subtext"}},
        "analysis": {"principle_comparisons": [comparison], "overall_analysis": "cand_2 hints."},
        "better_response": "cand_2",
    }
    return {**value, **overrides}


SUBTEXT = (Compared("Subtext", "cand_2", "hides more"),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"verdict": "cand_1"}', Verdict("cand_1")),
        (
            '<think>cand_2 preaches.</think>\n{"principles": {"Lecturing": "cand_1"}, "verdict": "cand_1"}',
            Verdict("cand_1", (Compared("Lecturing", "cand_1"),), "cand_2 preaches."),
        ),
        (json.dumps({"result": [published()]}), Verdict("cand_2", SUBTEXT, "cand_2 hints.", "published")),
        (json.dumps({"result": published()}), Verdict("cand_2", SUBTEXT, "cand_2 hints.", "published")),
        (f"<think>Hm.</think>```json\n{json.dumps(published())}\n```", Verdict("cand_2", SUBTEXT, "Hm.", "published")),
    ],
)
def test_what_follows_the_form_is_read_strictly(text: str, wanted: Verdict) -> None:
    assert parse_verdict(text) == wanted


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"verdict": "Candidate 1"}', "cand_1"),
        ('{"verdict": " CAND_2. "}', "cand_2"),
        ('{"verdict": "draw"}', "tie"),
        ('{"verdict": "B"}', "cand_2"),
        ('{"verdict": "cand_1", "why": "longer"}', "cand_1"),
        ("{'verdict': 'cand_2',}", "cand_2"),
        ('```json\n{"result":[{"better_response":"cand_1"}]}\n```', "cand_1"),
        (json.dumps({"result": [published(better_response="Response 2")]}), "cand_2"),
        ('{"result": [{"Better_Response": "cand_2"}]}', "cand_2"),
        ('{"analysis": {"Better Response": "cand_2"}}', "cand_2"),
        ('{"verdict": "cand_1", "better_response": "Candidate 1"}', "cand_1"),
    ],
)
def test_what_has_to_be_repaired_is_read_and_counted(text: str, verdict: str) -> None:
    found = parse_verdict(text)
    assert isinstance(found, Verdict) and found.verdict == verdict and found.repaired


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no_json"),
        ("nothing", "no_json"),
        ("cand_1 is better, clearly.", "no_json"),
        ("<html><body>502 Bad Gateway</body></html>", "no_json"),
        ('<think>{"verdict": "cand_1"}</think> I cannot say.', "no_json"),
        ('<think>{"verdict": "cand_1"}', "no_json"),
        ('{"verdict": "cand_1"', "cut"),
        ('{"principles": {"Subtext": "cand_1"}}', "wrong_keys"),
        ('{"result": []}', "wrong_keys"),
        ('{"result":[{"better_response":"cand_1"},{"better_response":"cand_2"}]}', "several"),
        ('{"verdict":"cand_1","better_response":"cand_2"}', "several"),
        ('{"verdict":"cand_1","final_verdict":"cand_2"}', "several"),
        ('{"better_response":"cand_1","result":[{"better_response":"cand_2"}]}', "several"),
        ('{"better_response":"cand_1","analysis":{"better_response":"cand_2"}}', "several"),
        ('{"verdict": "cand_1"}\n{"better_response": "cand_2"}', "several"),
        ('{"verdict": true}', "bad_value"),
        ('{"verdict": null}', "bad_value"),
        ('{"verdict": "cand_3"}', "bad_value"),
        ('{"verdict": "cand_1 or cand_2 or tie"}', "bad_value"),
        ('{"verdict": "neither"}', "bad_value"),
        ('{"verdict": ["cand_1"]}', "bad_value"),
        (json.dumps({"result": [published(better_response="")]}), "bad_value"),
    ],
)
def test_an_answer_without_a_verdict_is_missing(text: str, cause: str) -> None:
    found = parse_verdict(text)
    assert isinstance(found, Missing) and found.cause == cause


def test_a_principle_whose_winner_cannot_be_read_is_left_out() -> None:
    found = parse_verdict('{"principles": {"Subtext": "maybe", "Economy": "cand_2"}, "verdict": "cand_2"}')
    assert isinstance(found, Verdict) and found.repaired and [one.name for one in found.principles] == ["Economy"]


@pytest.mark.parametrize(
    "text", ["{" * 200_000, '{"verdict": ' * 50_000, "<think>" * 100_000 + '{"verdict": "tie"}'], ids=["a", "b", "c"]
)
def test_hostile_answers_take_no_time_and_give_no_verdict(text: str) -> None:
    start = time.process_time()
    assert isinstance(parse_verdict(text), Missing)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("winners", "verdict", "follows"),
    [
        (["cand_1", "cand_1", "cand_2"], "cand_1", True),
        (["cand_1", "cand_1", "cand_2"], "cand_2", False),
        (["cand_1", "cand_2", "tie"], "tie", True),
        (["cand_1", "cand_2", "tie"], "cand_1", False),
    ],
)
def test_whether_a_verdict_follows(winners: list[str], verdict: str, follows: bool) -> None:
    assert Verdict(verdict, tuple(Compared(str(at), won) for at, won in enumerate(winners))).follows is follows


@pytest.mark.parametrize("form", ["compact", "published"])
@pytest.mark.parametrize("reasoning", [True, False])
@pytest.mark.parametrize("label", ["cand_1", "cand_2", "tie"])
def test_what_is_trained_reads_back_as_the_label(form: str, reasoning: bool, label: str) -> None:
    write = compact_answer if form == "compact" else published_answer
    found = parse_verdict(write(a_pair(label=label), reasoning=reasoning))
    assert isinstance(found, Verdict) and not found.repaired
    assert (found.verdict, found.form) == (label, form)
    if reasoning or form == "published":
        assert [one.name for one in found.principles] == ["Assistant Voice", "Subtext", "Economy"]
        assert "offers help" in found.evidence


def test_a_pair_without_a_label_teaches_nothing() -> None:
    with pytest.raises(ValueError, match="without a label"):
        compact_answer(a_pair(label=None))


def test_tags_in_evidence_close_no_thinking() -> None:
    found = parse_verdict(compact_answer(a_pair(evidence="cand_2 says </think>{}")))
    assert isinstance(found, Verdict) and not found.repaired and found.verdict == "cand_1"


def test_schemas_take_what_is_trained() -> None:
    assert CompactVerdict.model_json_schema() == verdict_schema("compact")
    schema = verdict_schema("published")
    assert schema["required"] == ["result"] and "PublishedAnalysis" in schema["$defs"]
    answer = json.loads(published_answer(a_pair(), reasoning=False))
    assert set(schema["properties"]["result"]["items"]["required"]) <= set(answer["result"][0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"principles": {"Subtext": 8}, "score": 7}', Score(score=7, principles={"Subtext": 8})),
        ('<think>Fine.</think>{"score": "6.5"}', Score(score=6.5, evidence="Fine.")),
        ('{"score": 7, "principles": {"Subtext": "high"}}', Score(score=7)),
    ],
)
def test_scores_of_one_reply(text: str, wanted: Score) -> None:
    assert parse_score(text) == wanted


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("7 of 10", "no_json"),
        ('{"rating": 7}', "wrong_keys"),
        ('{"score": 7, "final_score": 9}', "wrong_keys"),
        ('{"score": "1_0"}', "bad_value"),
        ('{"score": 0}', "bad_value"),
        ('{"score": 11}', "bad_value"),
        ('{"score": true}', "bad_value"),
        ('{"score": "nan"}', "bad_value"),
        ('{"score": "high"}', "bad_value"),
    ],
)
def test_an_invalid_score_is_missing(text: str, cause: str) -> None:
    found = parse_score(text)
    assert isinstance(found, Missing) and found.cause == cause
