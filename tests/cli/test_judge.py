"""`her-hf judge` and pairs judged before: what may not be overwritten, mixed up, or lost to one odd sign."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from her_hf.durable import OtherRunError
from her_hf.evaluation.reward.report import write_reward_report
from her_hf.evaluation.reward.run import RewardRun, judge_file_now, run_reward_now
from her_hf.inference import Caller, Ledger, ModelError, Retries
from her_hf.judging import Pair, PairJudging, PairwiseJudge, read_pairs
from tests.support.pairs import Judge, a_pair, compact, first_shown

CARRIED = {"book": "", "card": "Jo.", "scenario": "", "turns": [{"name": "Meg", "text": "number 1?"}]}
NONE = Retries(max_retries=0)
COMPACT = PairJudging(form="compact", attempts=2)
Rule = Callable[[str, int], str | ModelError]


def right(text: str, _: int) -> str:
    side = first_shown(text)
    return compact(side, A=side)


def judge(backend: Judge, settings: PairJudging = COMPACT, ledger: Ledger | None = None) -> PairwiseJudge:
    return PairwiseJudge(Caller(backend, ledger=ledger, retries=NONE), settings)  # type: ignore[arg-type]


def measured(pairs: list[Any], out: Path, rule: Rule = right, settings: PairJudging = COMPACT) -> dict[str, Any]:
    return run_reward_now(RewardRun(pairs, out, judge(Judge(rule), settings), show=False))


def verdicts(pairs: list[Any], file: Path, rule: Rule = right, name: str = "judge") -> list[dict[str, Any]]:
    judge_file_now(judge(Judge(rule, name)), pairs, file, show=False)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


# -- FILE


@pytest.mark.parametrize("text", ["notes of mine, one line", "notes\n", json.dumps(a_pair().to_row()), ""])
def test_a_file_of_something_else_is_not_touched(text: str, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OtherRunError, match="was not written by this command"):
        verdicts([a_pair()], file)
    assert file.read_text(encoding="utf-8") == text and [entry.name for entry in tmp_path.iterdir()] == ["p.jsonl"]


def test_verdicts_of_another_judge_are_never_adopted(tmp_path: Path) -> None:
    file, note = tmp_path / "v.jsonl", tmp_path / "v.jsonl.run" / "run.json"
    verdicts([a_pair()], file)
    with pytest.raises(OtherRunError, match="model"):
        verdicts([a_pair()], file, name="other")
    note.unlink()
    with pytest.raises(OtherRunError, match="was not written by this command"):
        verdicts([a_pair()], file, name="other")


def test_the_file_holds_these_pairs_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "v.jsonl"
    verdicts([a_pair(number) for number in range(4)], file)
    rows = verdicts([a_pair(9), a_pair(1)], file)
    assert [(row["index"], row["key"]) for row in rows] == [(0, a_pair(9).key), (1, a_pair(1).key)]


# -- what is kept


def test_corrected_labels_count_and_nobody_is_asked_again(tmp_path: Path) -> None:
    pairs = [a_pair(number) for number in range(3)]
    assert measured(pairs, tmp_path / "out")["figures"]["accuracy"] == 1.0
    corrected = [replace(pair, label="cand_2", extra={"kind": "lecture"}) for pair in pairs]
    found = measured(corrected, tmp_path / "out", lambda *_: ModelError("gone", kind="connection"))
    assert found["figures"]["accuracy"] == 0.0 and found["missing"]["missing"] == 0
    assert list(found["figures"]["by_kind"]) == ["lecture"]
    lines = (tmp_path / "out" / "judged.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["cand_2"] * 3


def test_another_character_is_another_question(tmp_path: Path) -> None:
    measured([a_pair()], tmp_path / "out")
    second = Judge(right)
    run_reward_now(RewardRun([replace(a_pair(), character="Meg")], tmp_path / "out", judge(second), show=False))
    assert len(second.calls) == 2


def test_other_circumstances_are_another_question(tmp_path: Path) -> None:
    measured([a_pair()], tmp_path / "out")
    row = {"book": "", "card": "Another Jo.", "scenario": "", "turns": [{"name": "Meg", "text": "number 0?"}]}
    pair = Pair.from_row({**a_pair().to_row(), "circumstances": row})
    for calls in (2, 0):
        second = Judge(right)
        run_reward_now(RewardRun([pair], tmp_path / "out", judge(second), show=False))
        assert len(second.calls) == calls


def test_pairs_without_circumstances_are_counted(tmp_path: Path) -> None:
    carried = Pair.from_row(json.loads(json.dumps({**a_pair(1).to_row(), "circumstances": CARRIED})))
    found = measured([a_pair(0), carried], tmp_path / "out")
    assert found["counts"]["circumstances_from_prompt"] == 1
    report = write_reward_report(found, tmp_path / "out").read_text(encoding="utf-8")
    assert "1 pair without circumstances" in report and "--scenes" in report
    found = measured([carried], tmp_path / "other")
    assert found["counts"]["circumstances_from_prompt"] == 0
    report = write_reward_report(found, tmp_path / "other").read_text(encoding="utf-8")
    assert "without circumstances" not in report


def test_a_bad_row_may_lie_at_another_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "p.jsonl"
    file.write_text(json.dumps(a_pair().to_row()) + "\n{}\n", encoding="utf-8")
    measured(read_pairs(file), tmp_path / "out")
    found = measured(read_pairs(tmp_path / "sub" / ".." / "p.jsonl"), tmp_path / "out")
    assert found["missing"]["by_cause"] == {"pair": 1} and "sub" in found["missing"]["failures"][0]["detail"]


# -- what one odd row may not do


def test_half_a_character_is_no_end_of_a_run(tmp_path: Path) -> None:
    def odd(text: str, call: int) -> str:
        return (
            '{"principles": {"A \\ud83d": "cand_1"}, "verdict": "cand_1"}' if "number 0" in text else right(text, call)
        )

    pairs = [a_pair(0), a_pair(1, kind="\udc00"), a_pair(2)]
    for _ in range(2):  # the ledger gives the same answer again
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            asked = judge(Judge(odd), ledger=ledger)
            found = run_reward_now(RewardRun(pairs, tmp_path / "out", asked, show=False))
    assert found["counts"]["pairs"] == 3 and list(found["figures"]["by_kind"]) == ["assistant_voice", "\ufffd"]


def test_kinds_and_sources_of_any_type_are_groups(tmp_path: Path) -> None:
    pairs = [a_pair(0, kind=1), a_pair(1, kind="b"), a_pair(2, source=["x"])]
    found = measured(pairs, tmp_path / "out")["figures"]
    assert set(found["by_kind"]) == {"1", "b", "assistant_voice"} and list(found["by_source"]) == ["['x']"]


# -- figures


def test_replies_that_are_rated_alone_have_no_place(tmp_path: Path) -> None:
    def rate(text: str, _: int) -> str:
        return json.dumps({"principles": {}, "score": 8 if "hanged" in text else 3})

    judging = PairJudging(comparison="pointwise", attempts=1)
    found = measured([a_pair()], tmp_path / "out", rate, judging)["figures"]
    assert found["accuracy"] == 1.0
    assert {found[name] for name in ("first_position", "position_consistency", "per_order_accuracy")} == {None}


def test_lengths_are_of_what_the_judge_sees(tmp_path: Path) -> None:
    hidden = f"<system_thinking>{'plan ' * 200}</system_thinking>"
    pair: Pair = a_pair(cand_1=f"{hidden}Jo: Gloves be hanged, Meg!", cand_2="Jo: How may I help you now?")
    assert list(measured([pair], tmp_path / "out")["figures"]["by_length"]) == ["like"]


def test_an_unreadable_answer_counts_though_the_next_request_failed(tmp_path: Path) -> None:
    said = iter(["prose", ModelError("gone", kind="status", status=400)])
    settings = PairJudging(form="compact", attempts=2, both_orders=False)
    found = measured([a_pair()], tmp_path / "out", lambda *_: next(said), settings)
    assert (found["counts"]["orders"], found["counts"]["first_unreadable"]) == (1, 1)
    assert found["missing"]["by_cause"] == {"request": 1}
