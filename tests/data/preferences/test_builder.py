"""The pair builder: pure steps by table, whole runs with failing models, resume, balance, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from her_hf.cli.main import app
from her_hf.data.preferences import builder as pair_builder
from her_hf.data.preferences.allocation import allocate, longer_wins, read_shares
from her_hf.data.preferences.builder import PairRun, PairSettings, build_pairs_now
from her_hf.data.preferences.candidates import Moment, Policy, PolicySettings, moments_of
from her_hf.data.preferences.pairing import bucket_of, kept_because, pairs_of, places, read_candidate, turned
from her_hf.dual_layer import parse_turn
from her_hf.durable import OtherRunError
from her_hf.inference import Caller, Ledger, ModelError, Retries
from her_hf.judging import Missing, Pair, PairJudging, PairVerdict, PairwiseJudge, circumstances_of
from her_hf.judging.pairwise.pairs import Compared
from her_hf.judging.pairwise.prompts import compact_messages, pair_messages
from her_hf.scenes import load_scenes
from her_hf.simulation.styles import style_named
from tests.support.chat import small_scene
from tests.support.journals import check_refusals
from tests.support.pairs import Judge, compact
from tests.support.paths import ROOT

FOLDER = ROOT / "dataset_cards" / "her-mini"
SMALL = 12
"""Turns of the runs that are about one thing only."""

QUICK = Retries(max_retries=1, first=0.001, longest=0.01)


def scenes(count: int = 6) -> list[Any]:
    return [scene for scene in load_scenes(FOLDER, split="train") if scene.language == "en"][:count]


# -- pairing


def test_places() -> None:
    assert places(8, "adjacent") == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert places(5, "adjacent") == [(0, 1), (2, 3)]
    assert len(places(8, "all")) == 28
    with pytest.raises(ValueError, match="pairing must be one of"):
        places(8, "best")


def moment() -> Moment:
    return Moment(scenes(1)[0], 1)


def candidates(*texts: str | None, style: str = "her", ended: bool = True) -> list[Any]:
    return [read_candidate({"text": text, "ended": ended}, moment(), style_named(style)) for text in texts]


def test_a_candidate_is_what_its_character_sees() -> None:
    name = moment().character
    seen = f"{name}: <role_thinking>Hm.</role_thinking> Yes."
    (one,) = candidates(f"<system_thinking>PLAN</system_thinking>\n{seen}")
    assert one.text == seen and one.fault is None
    (other,) = candidates(f"{name}: [Hm.] Yes.", style="coser")
    assert other.text == seen and other.fault is None


PLAN = "<system_thinking>PLAN</system_thinking>\n"


@pytest.mark.parametrize(
    ("text", "ended", "fault"),
    [
        (None, False, "failed"),
        ("", True, "empty"),
        (PLAN, True, "empty"),
        ("<system_thinking>never closed", False, "empty"),
        (PLAN + "{name}: Yes.", True, None),
        (PLAN + "{name}: Yes.", False, "ill_formed"),
        ("{name}: Yes.", True, "ill_formed"),
        (PLAN + "Yes.", True, "ill_formed"),
        (PLAN + "{name}: <role_thinking>Only this.</role_thinking>", True, "ill_formed"),
        (PLAN + "{name}: <role_action>bows", True, "ill_formed"),
    ],
)
def test_what_is_wrong_with_a_candidate(text: str | None, ended: bool, fault: str | None) -> None:
    said = text.replace("{name}", moment().character) if text is not None else None
    assert candidates(said, ended=ended)[0].fault == fault


def test_pairs_that_cannot_be_compared_are_counted() -> None:
    texts = ["One.", "Two.", "Same.", PLAN + "Same.", "", "Five.", None, "Seven.", "Two.", " One. "]
    found, dropped = pairs_of(moment(), candidates(*texts), pairing="adjacent", source="policy")
    assert [pair.extra["candidates"] for pair in found] == [[0, 1]]
    assert dropped == {"same": 1, "empty": 1, "failed": 1, "repeated": 1}
    (pair,) = found
    assert pair.label is None and pair.extra["source"] == "policy" and pair.character == moment().character
    assert "PLAN" not in json.dumps(pair.to_row()) and pair.prompt[-1]["role"] == "user"
    found, dropped = pairs_of(moment(), candidates(*texts), pairing="adjacent", source="policy", well_formed=True)
    assert not found and dropped == {"ill_formed": 3, "empty": 1, "failed": 1}


def test_pairs_carry_the_circumstances_of_their_moment() -> None:
    """The same for a judge as their prompts say, and after a file too."""
    (pair,), _ = pairs_of(moment(), candidates("One.", "Two."), pairing="adjacent", source="policy")
    assert pair.carried == circumstances_of(moment().scene, moment().character, turns=moment().index)
    assert Pair.from_row(json.loads(json.dumps(pair.to_row()))).carried == pair.carried
    bare = replace(pair, carried=None)
    assert pair_messages(pair) == pair_messages(bare) and compact_messages(pair) == compact_messages(bare)
    assert pair.key == bare.key  # which seeds and sets follow from


def test_a_turned_pair_says_the_same_of_its_sides() -> None:
    pair = labelled(1, scene=1, bucket="cand_1")
    pair = replace(pair, extra={**pair.extra, "candidates": [4, 5]})
    other = turned(pair)
    assert (other.label, other.extra["bucket"], other.extra["candidates"]) == ("cand_2", "cand_2", [5, 4])
    assert turned(other) == pair


@pytest.mark.parametrize(
    ("verdict", "winners", "bucket"),
    [
        ("cand_1", ["cand_1", "cand_2", "tie"], "both"),
        ("cand_1", ["cand_1", "cand_1", "tie"], "cand_1"),
        ("cand_2", ["cand_2"], "cand_2"),
        ("tie", ["cand_1", "cand_2", "tie"], "tie"),
        ("cand_1", ["tie", "tie", "tie"], "tie"),
    ],
)
def test_buckets(verdict: str, winners: list[str], bucket: str) -> None:
    compared = tuple(Compared(str(at), winner) for at, winner in enumerate(winners))
    assert bucket_of(PairVerdict(verdict, principles=compared)) == bucket


def test_what_is_left_out() -> None:
    three = tuple(Compared(name, "cand_1") for name in "abc")
    assert kept_because(PairVerdict("cand_1", principles=three)) is None
    assert kept_because(PairVerdict("cand_1", principles=three[:2])) == "few_principles"
    assert kept_because(PairVerdict(missing=Missing("no_json"))) == "missing"


# -- allocation


def labelled(number: int, *, scene: int, label: str = "cand_1", bucket: str = "both", longer: bool = True) -> Pair:
    sides = ["Jo: long " + "words " * 9 + str(number), f"Jo: short {number}"]
    if longer != (label != "cand_2"):
        sides.reverse()
    prompt = [{"role": "user", "content": "Meg: Well?"}]
    extra = {"scene_key": f"Book/{scene}/0", "bucket": bucket}
    return Pair.from_row(
        {"prompt": prompt, "cand_1": sides[0], "cand_2": sides[1], "label": label, "character": "Jo", **extra}
    )


def many() -> list[Pair]:
    buckets = ("both", "cand_1", "cand_1", "tie")
    return [
        labelled(
            number,
            scene=number % 17,
            label="tie" if number % 4 == 3 else "cand_1",
            bucket=buckets[number % 4],
            longer=number % 5 != 0,
        )
        for number in range(400)
    ]


def test_no_scene_is_in_two_sets_and_nothing_is_lost_uncounted() -> None:
    found = allocate(many())
    homes = [{pair.extra["scene_key"] for pair in pairs} for pairs in found.sets.values()]
    assert not homes[0] & homes[1] and not homes[0] & homes[2] and not homes[1] & homes[2]
    left_out = sum(sum(causes.values()) for causes in found.left_out.values())
    assert sum(map(len, found.sets.values())) + left_out == 400
    assert all(found.sets.values()) and len(homes[2]) < len(homes[1]) <= len(homes[0])


def test_labels_are_balanced_in_every_set() -> None:
    for own in allocate(many()).figures().values():
        assert abs(own["labels"].get("cand_1", 0) - own["labels"].get("cand_2", 0)) <= 1


def test_length_does_not_tell_the_label() -> None:
    assert longer_wins(labelled(1, scene=1)) is True and longer_wins(labelled(1, scene=1, longer=False)) is False
    for own in allocate(many()).figures().values():
        assert 0.4 <= own["longer_is_better"] <= 0.6
    free = allocate(many(), max_length_bias=1.0, both_share=None)
    assert max(own["longer_is_better"] for own in free.figures().values()) > 0.7
    found = allocate([labelled(number, scene=number % 9) for number in range(90)], both_share=None)
    assert not any(found.sets.values())  # the longer one always wins: no such pair can be kept
    assert sum(causes["lengths"] for causes in found.left_out.values()) == 90


@pytest.mark.parametrize("max_length_bias", [0.5, 0.6, 1.0])
def test_half_of_the_sft_pairs_have_principles_on_both_sides_and_a_quarter_on_each_alone(
    max_length_bias: float,
) -> None:
    buckets = allocate(many(), max_length_bias=max_length_bias).figures()["rm_sft"]["buckets"]
    one = buckets["cand_1"] + buckets["cand_2"]
    assert buckets["both"] > 5 and abs(buckets["both"] - one) <= 1 and "tie" not in buckets
    assert abs(buckets["cand_1"] - buckets["cand_2"]) <= 1


def test_the_mix_can_be_another() -> None:
    assert set(allocate(many(), both_share=0.0).figures()["rm_sft"]["buckets"]) == {"cand_1", "cand_2"}
    assert "tie" in allocate(many(), both_share=None).figures()["rm_sft"]["buckets"]
    nobody = allocate(
        [labelled(number, scene=number, bucket="cand_1", longer=number % 2 == 0) for number in range(40)]
    )
    assert not nobody.sets["rm_sft"] and nobody.left_out["rm_sft"]["buckets"] > 10


def test_a_number_of_pairs_is_no_share() -> None:
    figures = allocate(many(), shares={"rm_sft": 0.5, "rm_rl": 0.5, "test": 20}).figures()
    assert 0 < figures["test"]["pairs"] <= 20 and figures["rm_rl"]["pairs"] > 90
    only = allocate(many(), shares={"test": 20}, max_length_bias=1.0)
    assert len(only.sets["test"]) == 20 and not only.sets["rm_sft"] and only.left_out["no_set"]["not_asked_for"] > 300


def test_sets_do_not_depend_on_the_order_of_pairs() -> None:
    pairs = many()
    one, other = allocate(pairs), allocate(pairs[::-1])
    assert one.sets == other.sets
    assert allocate(pairs, seed=7).sets != one.sets


@pytest.mark.parametrize(
    "given",
    [
        {"shares": {"rm_sft": 0}},
        {"shares": {"train": 1}},
        {"shares": {"test": -1}},
        {"max_length_bias": 0.4},
        {"both_share": 1.1},
    ],
)
def test_shares_out_of_range(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must name some of|must be from"):
        allocate(many(), **given)


# -- whole runs


def policy_rule(text: str, call: int) -> str | ModelError:
    """Candidates that differ by what was asked, with every kind of failure among them."""
    return f"Well, that is answer {len(text) * 7 % 1000}, of {call}."


def policy_model(fail: bool = True, lost: Callable[[int], bool] = lambda seed: False) -> Judge:
    class Writer(Judge):
        async def chat(self, messages: Any, *, sampling: Any, thinking: bool = True, schema: Any = None) -> Any:
            text = messages[-1]["content"]
            kind = sampling.seed % 11 if fail else 10
            said: dict[int, str | ModelError] = {
                0: "<system_thinking>a plan and nothing else</system_thinking>",
                1: ModelError("busy", kind="status", status=429),
                2: "Just the same.",
                3: "Just the same.",
            }
            answer: str | ModelError = said.get(
                kind, f"Answer {sampling.seed}" + " and more" * (sampling.seed % 7) + "."
            )
            if lost(sampling.seed):
                answer = ModelError("out of coal", kind="status", status=400)
            self.rule = lambda *_: answer
            return await super().chat([{"content": text}], sampling=sampling)

    return Writer(policy_rule, "policy")


def teacher_rule(text: str, _: int) -> str | ModelError:
    """Prefers the reply with the larger number; some pairs get prose, HTML, half a JSON, or an error."""
    replies = [part.split("## ")[0] for part in text.split("## cand_")[1:3]]
    numbers = [sum(map(ord, reply[4:])) for reply in replies]
    at = sum(numbers) % 13
    side = "cand_1" if numbers[0] > numbers[1] else "cand_2"
    other = {"cand_1": "cand_2", "cand_2": "cand_1"}[side]
    said: dict[int, str | ModelError] = {
        0: "I would say the first.",
        1: "<html>502</html>",
        2: '{"principles": {"Subtext": "ca',
        3: ModelError("broken", kind="status", status=500),
        4: compact(side, A=side, B=side),
    }
    return said.get(at, compact(side, A=side, B=other if at % 2 else side, C=side))


def run(
    out: Path,
    policy: Judge | None = None,
    teacher: Judge | None = None,
    *,
    concurrency: int = 16,
    limit: int = 30,
    **changes: Any,
) -> dict[str, Any]:
    with Ledger(out / "ledger.sqlite") as ledger:

        def caller(model: Judge) -> Caller:
            return Caller(model, ledger=ledger, concurrency=concurrency, retries=QUICK)  # type: ignore[arg-type]

        settings = PairJudging(principles="fixed", attempts=1)
        return build_pairs_now(
            PairRun(
                scenes(),
                out,
                Policy(caller(policy or policy_model()), PolicySettings("plain", candidates=4)),
                PairwiseJudge(caller(teacher or Judge(teacher_rule, "teacher")), settings),
                PairSettings(max_replies=limit, **changes),
                show=False,
            )
        )


FILES = (
    "candidates.jsonl",
    "pairs.jsonl",
    "judgements.jsonl",
    "sets/rm_sft.jsonl",
    "sets/rm_rl.jsonl",
    "sets/test.jsonl",
    "report.json",
)


def test_a_run_counts_everything_and_invents_nothing(tmp_path: Path) -> None:
    report = run(tmp_path / "out")
    asked, pairs, judged = report["candidates"], report["pairs"], report["judged"]
    assert asked["asked"] == 120 and asked["failed"] > 0 and asked["by_cause"] == {"status": asked["failed"]}
    assert pairs["made"] + sum(pairs["dropped"].values()) == 60 and {"failed", "empty"} <= pairs["dropped"].keys()
    assert judged["pairs"] == pairs["made"] and {"no_json", "request"} <= judged["by_cause"].keys()
    assert report["left_out"]["missing"] == judged["missing"] and report["left_out"]["few_principles"] > 0
    kept = sum(report["buckets"].values())
    sets = report["allocated"]["sets"]
    assert kept + sum(report["left_out"].values()) == pairs["made"]
    left_out = sum(sum(causes.values()) for causes in report["allocated"]["left_out"].values())
    assert sum(own["pairs"] for own in sets.values()) + left_out == kept
    turns = report["turns"]
    assert turns["replied_to"] == 30 and turns["without_context"] > 0 and asked["empty"] > 0
    assert turns["of_characters"] == turns["without_context"] + turns["beyond_limit"] + turns["replied_to"]
    assert sum(judged["verdicts"].values()) == judged["pairs"] - judged["missing"]
    assert report["missing"]["share"] == max(asked["failed"] / 120, judged["missing"] / judged["pairs"])
    unlabelled = [json.loads(line) for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines()]
    assert len(unlabelled) == pairs["made"] and {row["label"] for row in unlabelled} == {None}
    rows = [json.loads(line) for name in FILES[3:6] for line in (tmp_path / "out" / name).read_text().splitlines()]
    for row in rows:
        pair = Pair.from_row(row)
        assert pair.label in ("cand_1", "cand_2", "tie") and len(pair.principles) >= 3
        assert "system_thinking" not in pair.cand_1 + pair.cand_2 and pair.extra["source"] == "policy"
    text = (tmp_path / "out" / "report.md").read_text()
    assert (
        "`busy`" in text and "turns replied to | 30" in text and "no verdict: request" in text and "| rm_sft |" in text
    )


def test_the_same_files_at_any_concurrency_and_after_kills(tmp_path: Path) -> None:
    run(tmp_path / "one", concurrency=1)
    run(tmp_path / "many", concurrency=16)

    def killed(model: Judge, after: int) -> Judge:
        whole: Callable[..., Any] = model.chat

        async def chat(*given: Any, **how: Any) -> Any:
            if len(model.calls) >= after:
                raise RuntimeError("killed")
            return await whole(*given, **how)

        model.chat = chat  # type: ignore[method-assign]
        return model

    folder = tmp_path / "killed"
    with pytest.raises(RuntimeError, match="killed"):
        run(folder, policy=killed(policy_model(), 40), concurrency=2)
    with pytest.raises(RuntimeError, match="killed"):
        run(folder, teacher=killed(Judge(teacher_rule, "teacher"), 20), concurrency=2)
    writer, labeller = policy_model(), Judge(teacher_rule, "teacher")
    run(folder, writer, labeller, concurrency=3)
    failed = json.loads((folder / "report.json").read_text())["candidates"]["failed"]
    assert len(writer.calls) == 2 * failed  # nothing but what failed is asked again, with its one retry
    for name in FILES:
        assert len({(tmp_path / at / name).read_bytes() for at in ("one", "many", "killed")}) == 1, name


@pytest.mark.parametrize(("name", "needs"), [("candidates", "asked"), ("judgements", "judged")])
def test_lines_of_an_older_shape_or_another_run_are_refused(tmp_path: Path, name: str, needs: str) -> None:
    def start() -> None:
        run(tmp_path, policy_model(fail=False), sound_teacher(), limit=SMALL)

    start()
    check_refusals(tmp_path / f"{name}.jsonl", start, needs=needs)


def sound_teacher() -> Judge:
    return Judge(_sound, "teacher")


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def test_what_was_lost_comes_later_and_leaves_the_same_files(tmp_path: Path) -> None:
    run(tmp_path / "quiet", policy_model(fail=False), sound_teacher(), limit=SMALL)
    some = policy_model(fail=False, lost=lambda seed: seed % 5 == 0)
    assert run(tmp_path / "out", some, sound_teacher(), limit=SMALL)["candidates"]["failed"] > 0
    run(tmp_path / "out", policy_model(fail=False), sound_teacher(), limit=SMALL)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "quiet")


def test_a_request_that_was_lost_in_one_order_only_is_made_again(tmp_path: Path) -> None:
    error = ModelError("no", kind="status", status=400)
    odd = Judge(lambda text, call: "prose" if call % 2 else error, "teacher")
    judged = run(tmp_path / "out", policy_model(fail=False), odd, concurrency=1, limit=SMALL)["judged"]
    assert judged["missing"] == judged["pairs"] > 0
    again = sound_teacher()
    run(tmp_path / "out", policy_model(fail=False), again, limit=SMALL)
    assert len(again.calls) == judged["pairs"]  # the order that was answered with prose is not asked again
    lines = (tmp_path / "out" / "judgements.jsonl").read_text().splitlines()
    orders = [order for line in lines for order in json.loads(line)["per_order"]]
    assert {order["missing"]["cause"] if order["missing"] else None for order in orders} == {None, "no_json"}


def test_a_kill_between_two_sets_mixes_no_allocations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = policy_model(fail=False, lost=lambda seed: seed % 3 == 0)
    run(tmp_path / "out", some, sound_teacher(), limit=SMALL)
    real = pair_builder.new_contents

    def stopping(file: Path) -> Any:
        if file.name == "rm_rl.jsonl":
            raise RuntimeError("killed")
        return real(file)

    monkeypatch.setattr(pair_builder, "new_contents", stopping)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "out", policy_model(fail=False), sound_teacher(), limit=SMALL)
    left = [file.name for file in (tmp_path / "out" / "sets").glob("*.jsonl")]
    assert left == ["rm_sft.jsonl"] and not (tmp_path / "out" / "report.json").exists()
    monkeypatch.undo()
    run(tmp_path / "out", policy_model(fail=False), sound_teacher(), limit=SMALL)
    run(tmp_path / "quiet", policy_model(fail=False), sound_teacher(), limit=SMALL)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "quiet")


def test_a_keyboard_interrupt_loses_and_repeats_nothing(tmp_path: Path) -> None:
    answered: list[int] = []

    def counting(stop: int | None) -> Judge:
        model = policy_model(fail=False)
        whole: Callable[..., Any] = model.chat

        async def chat(messages: Any, *, sampling: Any, **how: Any) -> Any:
            if stop is not None and len(answered) >= stop:
                raise KeyboardInterrupt
            reply = await whole(messages, sampling=sampling)
            answered.append(sampling.seed)
            return reply

        model.chat = chat  # type: ignore[method-assign]
        return model

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", counting(21), sound_teacher(), concurrency=8, limit=SMALL)
    run(tmp_path / "out", counting(None), sound_teacher(), concurrency=8, limit=SMALL)
    assert len(answered) == len(set(answered)) == 4 * SMALL


def test_another_setting_takes_a_copy_of_the_ledger(tmp_path: Path) -> None:
    run(tmp_path / "out", policy_model(fail=False), sound_teacher(), limit=SMALL)
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "out" / "ledger.sqlite", tmp_path / "other")
    writer, labeller = policy_model(fail=False), sound_teacher()
    run(tmp_path / "other", writer, labeller, limit=SMALL, shares="test=0.5,rm_rl=0.5")
    assert not writer.calls and not labeller.calls


def test_the_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "out", limit=SMALL)
    with pytest.raises(OtherRunError, match="min_principles"):
        run(tmp_path / "out", limit=SMALL, min_principles=2)


def test_turns_are_spread_and_have_something_to_answer() -> None:
    found, counts = moments_of(scenes(), 10)
    assert len(found) == 10 == counts["replied_to"] and all(one.has_context and one.index > 0 for one in found)
    assert len({one.scene.key for one in found}) > 4 and len(moments_of(scenes())[0]) > 30
    assert moments_of(scenes()[::-1], 10) == (found, counts)
    silent = small_scene()
    thought = parse_turn("Mr. Bell: <role_thinking>It is here.</role_thinking>")
    silent = silent.model_copy(update={"dialogue": [thought, *silent.dialogue[1:]]})
    with pytest.raises(ValueError, match="no turn to reply to"):
        moments_of([silent])  # what another only thought is nothing to answer
    with pytest.raises(ValueError, match="no turn to reply to"):
        moments_of([])


# -- the command


def test_the_command_makes_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"http://p": policy_model(fail=False), "http://t": Judge(_sound, "teacher")}

    def open_caller(spec: str, **how: Any) -> Caller:
        return Caller(models[spec], ledger=how["ledger"], retries=QUICK)  # type: ignore[arg-type]

    monkeypatch.setattr("her_hf.inference.open.open_caller", open_caller)
    words = [
        "pairs",
        "--scenes",
        str(FOLDER),
        "--split",
        "validation",
        "--policy",
        "http://p",
        "--teacher",
        "http://t",
    ]
    words += ["--style", "plain", "--candidates", "4", "--max-replies", "20", "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0 and "Sets: rm_sft" in said.output, said.output
    assert any((tmp_path / "out" / "sets" / f"{name}.jsonl").stat().st_size for name in ("rm_sft", "rm_rl"))
    assert set(models["http://t"].schemas) == {None}  # it thinks first
    at_once = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "at_once"), "--no-teacher-reasoning"])
    assert at_once.exit_code == 0 and models["http://t"].schemas[-1]["required"] == ["result"]
    refused = CliRunner().invoke(app, [*words, "--no-teacher-reasoning", "--teacher-form", "compact"])
    assert "name no principles" in str(refused.exception)
    models["http://t"].rule = lambda *_: "prose"
    said = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "lost")])
    assert said.exit_code == 3 and "more than --max-missing" in said.output
    models["http://p"], models["http://t"] = policy_model(fail=False, lost=lambda seed: seed % 4 > 0), sound_teacher()
    said = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "few")])
    assert said.exit_code == 3 and "of the candidates" in said.output  # all pairs that could be made were judged


def _sound(text: str, call: int) -> str | ModelError:
    replies = [part.split("## ")[0] for part in text.split("## cand_")[1:3]]
    side = "cand_1" if replies[0][4:] > replies[1][4:] else "cand_2"
    return compact(side, A=side, B=side, C="tie")


def test_shares_on_the_command_line() -> None:
    found = read_shares("rm_sft=0.5, rm_rl=0.5, test=200")
    assert found == {"rm_sft": 0.5, "rm_rl": 0.5, "test": 200}
    assert isinstance(found["test"], int) and isinstance(read_shares("test=1.0")["test"], float)
    for text in ("rm_sft", "rm_sft=half", "", "rm_sft=nan", "test=1,test=2"):
        with pytest.raises(ValueError, match="shares must look like"):
            read_shares(text)


@pytest.mark.parametrize("shares", ["rm_stf=0.5,test=0.5", "test=0.0", "test=half"])
def test_shares_are_checked_before_any_model_is_called(shares: str) -> None:
    with pytest.raises(ValueError, match="shares must"):
        PairSettings(shares=shares)


def test_candidates_without_temperature_would_be_equal() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        PolicySettings(temperature=0.0)
