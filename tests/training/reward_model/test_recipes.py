"""The recipes of the reward model, as a user starts them: rows, training, resume, folder, card, push."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from trl import GRPOTrainer, ModelConfig, TrlParser

from her_hf.durable import OtherRunError
from her_hf.judging.pairwise.answers import compact_answer
from her_hf.judging.pairwise.judge import OneOrder, PairwiseJudge
from her_hf.judging.pairwise.pairs import Pair
from her_hf.judging.pairwise.prompts import compact_messages
from her_hf.processing.rows import IGNORED, Row, take
from her_hf.scoring.missing import Missing
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.one_pass.loss import loss_weights, total_weight
from her_hf.training.one_pass.trainer import OnePassTrainer
from her_hf.training.reward_model.config import RewardDataConfig, RewardRLDataConfig
from her_hf.training.reward_model.doubt import doubtful_pairs
from her_hf.training.reward_model.prompts import prompt_rows, taken_pairs
from her_hf.training.reward_model.rewards import VerdictReward
from her_hf.training.reward_model.rl import RewardRLConfig, VerdictTrainer, run_rm_rl
from her_hf.training.reward_model.rows import PARTS, PairReport, labelled_pairs, reward_rows
from her_hf.training.reward_model.sft import run_rm_sft
from tests.support.one_pass import FIXTURES, tiny_model
from tests.support.pairs import a_pair
from tests.support.paths import ROOT

SFT = (RewardDataConfig, ModelConfig, OnePassConfig)
RL = (RewardRLDataConfig, ModelConfig, RewardRLConfig)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(FIXTURES / "tokenizers" / "smollm2")
    tokenizer.save_pretrained(folder)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [a_pair(number).to_row() for number in range(6)] + [a_pair(9, label=None).to_row(), {"prompt": []}]
    file = tmp_path_factory.mktemp("pairs") / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def words(values: dict[str, Any]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def sft_values(base: Path, pairs_file: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": base, "dataset": pairs_file, "eval_split": "", "eval_dataset": pairs_file,
        "form": "compact", "output_dir": out, "replies_per_step": 4, "max_steps": 6, "learning_rate": 1e-2,
        "per_reply": True, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "eval_strategy": "no",
        "save_strategy": "steps", "save_steps": 2, "dataloader_pin_memory": False, "seed": 5,
        "license": "apache-2.0", **changes,
    }  # fmt: skip


def rl_values(base: Path, pairs_file: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": base, "dataset": pairs_file, "form": "compact", "output_dir": out, "max_steps": 2,
        "num_generations": 2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1,
        "max_completion_length": 8, "learning_rate": 1e-3, "use_cpu": True, "disable_tqdm": True,
        "logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "seed": 5, "bf16": False,
        "gradient_checkpointing": False, **changes,
    }  # fmt: skip


def parsed(kinds: Any, values: dict[str, Any]) -> Any:
    return TrlParser(kinds).parse_args_and_config(words(values))


@pytest.fixture(scope="module")
def finished(base: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "rm-sft"
    run_rm_sft(*parsed(SFT, sft_values(base, pairs_file, out)))
    return out


# -- rows


@pytest.mark.parametrize("at_once", [True, False])
def test_a_row_is_its_prompts_and_answers_token_for_token(base: Path, at_once: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    report = PairReport()
    rows = reward_rows([a_pair()], tokenizer, report, form="compact", at_once=at_once, progress=False)
    assert (report.rows, report.answers) == (2, 4 if at_once else 2)
    for row, pair in zip(rows, (a_pair(), a_pair().swapped()), strict=True):
        for (start, end, sees), reasoning in zip(row["branches"], (True, False), strict=False):
            messages = compact_messages(pair, reasoning=reasoning)
            answer = compact_answer(pair, reasoning=reasoning) + tokenizer.eos_token
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            ids = row["input_ids"][:sees] + row["input_ids"][start:end]
            assert tokenizer.decode(ids) == prompt + answer
            trained = [token for token in row["labels"][start:end] if token != IGNORED]
            assert tokenizer.decode(trained) == answer
            assert row["position_ids"][start:end] == list(range(sees, sees + end - start))
        assert all(label == IGNORED for label in row["labels"][: row["trunk_len"]])


def test_parts_of_an_answer_are_told_apart(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    row = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", progress=False)[0]
    texts = {
        name: tokenizer.decode(
            [t for t, layer in zip(row["input_ids"], row["layers"], strict=True) if layer == number]
        )
        for number, name in enumerate(PARTS)
    }
    assert "offers help" in texts["thinking"] and "principles" not in texts["thinking"]
    assert texts["decision"].count("1") >= 4 and "verdict" not in texts["decision"]
    assert "verdict" in texts["form"]


def test_what_decides_weighs_its_share_of_an_answer(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    row = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", decision_share=0.6, progress=False)[0]
    for start, end, _ in row["branches"]:
        tokens = list(zip(*(row[name][start:end] for name in ("labels", "weights", "layers")), strict=True))
        deciding = [(label, weight) for label, weight, layer in tokens if layer == PARTS.index("decision")]
        assert {tokenizer.decode([label]) for label, _ in deciding} <= {"1", "2"}
        assert sum(weight for _, weight in deciding) == pytest.approx(0.6)
        assert sum(weight for _, weight, _ in tokens) == pytest.approx(1)
        assert all(weight == 0 for label, weight, _ in tokens if label == IGNORED)
    at_once = row["branches"][1]
    assert max(row["weights"][slice(*at_once[:2])]) == pytest.approx(0.6)


def test_a_tie_is_not_taught_more_often_than_it_is_true(base: Path) -> None:
    """The token at which a tie and a reply part weighs the same whichever is right."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    weights = {}
    for label in ("tie", "cand_1"):
        how: Any = {"form": "compact", "decision_share": 0.6, "thinking_share": 0, "progress": False}
        made = reward_rows([a_pair(label=label)], tokenizer, PairReport(), **how)
        labels, own = made[0]["labels"], made[0]["weights"]
        pieces = {at: tokenizer.decode([token]) for at, token in enumerate(labels) if token != IGNORED}
        first = next(at for at in pieces if pieces.get(at - 1) == ' "')
        weights[label] = own[first] * sum(token != IGNORED for token in labels)
    assert weights["tie"] == pytest.approx(weights["cand_1"], rel=0.2)


def test_weights_reach_the_model(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    """Through shuffling, splitting, packing and padding."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows([a_pair(n) for n in range(3)], tokenizer, PairReport(), form="compact", decision_share=0.6)
    for packed in (False, True):
        values = sft_values(base, pairs_file, tmp_path / f"{packed}", replies_per_step=3, pack_rows=packed)
        _, _, args = parsed(SFT, values)
        model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa")
        trainer = OnePassTrainer(model, args, train_dataset=rows, processing_class=tokenizer, layers=PARTS)
        sums = [batch["weights"].sum().item() for batch in trainer.get_train_dataloader()]
        assert sums == pytest.approx([3, 3, 3, 3])


def test_the_loss_is_weighed_as_the_rows_say(base: Path) -> None:
    """Half a row (one of its answers) keeps its weights too."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    made = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", decision_share=0.6, progress=False)
    rows = [made[0], take(cast(Row, {name: made[1][name] for name in Row.__annotations__}), [1])]
    batch = OnePassCollator(pad_token_id=0)(rows)
    weights = loss_weights(batch, torch.float64, per_reply=True)
    assert [round(sum(weights[row]).item(), 5) for row in (0, 1)] == [2, 1] and total_weight(batch) == 3
    assert ((weights > 0) == (batch["labels"] != IGNORED)).all()


def test_thinking_is_dealt_evenly(base: Path) -> None:
    report = PairReport()
    pairs = [a_pair(number) for number in range(8)]
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows(pairs, tokenizer, report, form="compact", thinking_share=0.25, progress=False)
    answers = [len(row["branches"]) for row in rows]
    assert answers == [1] * 6 + [2] * 2 + [1] * 6 + [2] * 2 and report.answers == sum(answers)


def test_embeddings_are_left_alone_where_asked(base: Path, pairs_file: Path, tmp_path: Path) -> None:
    values = sft_values(base, pairs_file, tmp_path / "run", max_steps=2, save_strategy="no", decision_share=0.5)
    run_rm_sft(*parsed(SFT, {**values, "freeze_embeddings": True, "rows_together": 2}))
    before, after = (AutoModelForCausalLM.from_pretrained(path) for path in (base, tmp_path / "run"))
    trained = dict(after.named_parameters())
    same = {name for name, weight in before.named_parameters() if torch.equal(weight, trained[name])}
    assert same == {"model.embed_tokens.weight", "lm_head.weight"} & trained.keys()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "all but the embeddings" in card and "the tokens that decide count 50%" in card


def test_pairs_that_teach_nothing_are_counted(base: Path, pairs_file: Path) -> None:
    report = PairReport()
    found = labelled_pairs(str(pairs_file), "train", None, report)
    assert (len(found), report.unlabelled, report.bad) == (6, 1, 1)
    rows = reward_rows(found, AutoTokenizer.from_pretrained(base), report, form="compact", max_tokens=10_000)
    assert report.too_long == 0 and len(rows) == 12
    with pytest.raises(ValueError, match="rows of all 6 pairs are longer than 20 tokens"):
        reward_rows(found, AutoTokenizer.from_pretrained(base), PairReport(), form="compact", max_tokens=20)


# -- SFT


def test_the_folder_is_a_plain_model_with_its_own_template(finished: Path, base: Path) -> None:
    AutoModelForCausalLM.from_pretrained(finished)
    tokenizer = AutoTokenizer.from_pretrained(finished)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
    assert json.loads((finished / "reward_model.json").read_text())["form"] == "compact"
    results = json.loads((finished / "results.json").read_text())
    assert results["steps"] == 6 and results["pairs"]["pairs"] == 6 and results["pairs"]["bad"] == 1
    held_out = results["held_out_loss"]
    assert held_out["decision"]["tokens"] > 0 and held_out["all"] > 0
    card = (finished / "README.md").read_text()
    for part in (
        "split | train",
        "pairs seen | 6",
        "HERRewardModel.from_pretrained",
        "reward-model",
        "held-out loss, decision",
    ):
        assert part in card
    assert str(ROOT) not in card and "system_thinking" not in card


def test_training_learns_the_label(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 6 and losses[-1] < losses[0]


def test_the_same_command_again_trains_nothing(finished: Path, base: Path, pairs_file: Path) -> None:
    stamp = (finished / "model.safetensors").stat().st_mtime_ns
    run_rm_sft(*parsed(SFT, sft_values(base, pairs_file, finished)))
    assert (finished / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(OtherRunError, match=r"form|rows"):
        run_rm_sft(*parsed(SFT, sft_values(base, pairs_file, finished, form="published")))


KILL = """
import json, os, signal, sys
from trl import ModelConfig, TrlParser
from her_hf.training.run import checkpoints, job
stage = sys.argv[2]

class Killer(checkpoints.RunLog):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

Killer.__name__ = checkpoints.RunLog.__name__
job.RunLog = Killer
words = [word for name, value in json.loads(sys.argv[1]).items() for word in (f"--{name}", str(value))]
if stage == "sft":
    from her_hf.training.one_pass.config import OnePassConfig
    from her_hf.training.reward_model.config import RewardDataConfig
    from her_hf.training.reward_model.sft import run_rm_sft as run
    kinds = (RewardDataConfig, ModelConfig, OnePassConfig)
else:
    from her_hf.training.reward_model.config import RewardRLDataConfig
    from her_hf.training.reward_model.rl import RewardRLConfig, run_rm_rl as run
    kinds = (RewardRLDataConfig, ModelConfig, RewardRLConfig)
run(*TrlParser(kinds).parse_args_and_config(words))
"""


def run_to_the_kill(stage: str, values: dict[str, Any], step: int) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    given = json.dumps({name: str(value) for name, value in values.items()})
    command = [sys.executable, "-c", KILL, given, stage, str(step)]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]


def test_a_killed_run_goes_on_and_ends_the_same(finished: Path, base: Path, pairs_file: Path, tmp_path: Path) -> None:
    values = sft_values(base, pairs_file, tmp_path / "killed")
    run_to_the_kill("sft", values, 5)
    results = run_rm_sft(*parsed(SFT, values))
    assert results["resumed_from"] == "checkpoint-4"
    wanted = json.loads((finished / "results.json").read_text())
    assert results["held_out_loss"]["all"] == pytest.approx(wanted["held_out_loss"]["all"], rel=1e-4)


# -- RL


def test_prompts_come_in_both_orders_with_their_labels() -> None:
    rows = prompt_rows([a_pair()], RewardRLDataConfig(dataset="x", form="compact"), seed=1)
    assert rows["label"] == ["cand_1", "cand_2"]
    texts = [prompt[-1]["content"] for prompt in rows["prompt"]]
    assert "cand_1: Gloves be hanged" in texts[0] and "cand_2: Gloves be hanged" in texts[1]
    once = RewardRLDataConfig(dataset="x", form="compact", both_orders=False, reasoning=False)
    (prompt,) = prompt_rows([a_pair()], once, seed=1)["prompt"]
    assert prompt[-1]["content"].endswith("Answer at once.")


def test_a_step_has_both_orders_of_a_pair(
    finished: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[list[str]] = []

    def keep(self: VerdictReward, completions: Any, label: list[str], **columns: Any) -> list[float]:
        steps.append(list(label))
        return [0.0] * len(label)

    monkeypatch.setattr(VerdictReward, "__call__", keep)
    run_rm_rl(*parsed(RL, rl_values(finished, pairs_file, tmp_path, gradient_accumulation_steps=2, max_steps=3)))
    assert len(steps) == 3 and all(sorted(labels) == ["cand_1", "cand_1", "cand_2", "cand_2"] for labels in steps)


def a_model(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def test_only_pairs_in_doubt_are_kept(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label that is certain or impossible in all orders teaches nothing; one order in doubt keeps both."""
    chances = {0: (0.99, 0.98), 1: (0.01, 0.02), 2: (0.99, 0.6), 3: (0.3, 0.5)}

    async def order(self: PairwiseJudge, pair: Pair, order: str) -> OneOrder:
        number = next(n for n in chances if a_pair(n).key in (pair.key, pair.swapped().key))
        right = chances[number][order == "21"]
        return OneOrder(order, "cand_1", probabilities={"cand_1": right, "cand_2": 1 - right, "tie": 0.0})

    monkeypatch.setattr(PairwiseJudge, "_order", order)
    pairs, (model, tokenizer) = [a_pair(number) for number in chances], a_model(finished)
    how: Any = {"least": 0.05, "file": tmp_path / "doubts.jsonl", "progress": False}
    assert doubtful_pairs(pairs, model, tokenizer, **how) == pairs[2:]
    assert doubtful_pairs(pairs, model, tokenizer, both_orders=False, **how) == pairs[3:]


def test_doubt_that_cannot_be_told_is_an_error(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def order(self: PairwiseJudge, pair: Pair, order: str) -> OneOrder:
        return OneOrder(order, missing=Missing("request", "out of memory"))

    monkeypatch.setattr(PairwiseJudge, "_order", order)
    with pytest.raises(ValueError, match=r"its doubt cannot be told \(out of memory\)"):
        doubtful_pairs([a_pair()], *a_model(finished), least=0.1, file=tmp_path / "doubts.jsonl", progress=False)


def test_doubt_is_refused_where_no_process_has_the_whole_model(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    data = RewardRLDataConfig(dataset="x", form="compact", reasoning=False, least_doubt=0.1)
    _, _, args = parsed(RL, rl_values(finished, tmp_path / "x.jsonl", tmp_path))
    with pytest.raises(ValueError, match="which FSDP and ZeRO-3 divide"):
        taken_pairs([a_pair()], data, *a_model(finished), args)


def test_a_killed_reinforcement_keeps_its_pairs(
    finished: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doubts that were noted count, not those that another device would find."""
    values = rl_values(finished, pairs_file, tmp_path / "killed", max_steps=3, reasoning=False, least_doubt=0.01)
    run_to_the_kill("rl", values, 2)
    doubts = [json.loads(line) for line in (tmp_path / "killed" / "doubts.jsonl").read_text().splitlines()]
    assert len(doubts) == 6 and all(len(line["doubts"]) == 2 for line in doubts)

    async def again(*args: Any, **how: Any) -> list[float]:
        raise AssertionError("asked again for what was noted")

    monkeypatch.setattr("her_hf.inference.local.LocalModel.likelihoods", again)
    results = run_rm_rl(*parsed(RL, values))
    assert results["resumed_from"] == "checkpoint-1"
    assert (results["pairs"]["pairs"], results["pairs"]["not_in_doubt"]) == (6, 0)
    card = (tmp_path / "killed" / "README.md").read_text()
    assert "probability below 0.01 or above 0.99 | 0" in card


def test_prompts_that_leave_no_room_for_an_answer_are_counted(
    finished: Path, pairs_file: Path, tmp_path: Path
) -> None:
    long = a_pair(7, cand_1="Jo: " + "gloves " * 600)
    file = tmp_path / "pairs.jsonl"
    file.write_text(pairs_file.read_text() + json.dumps(long.to_row()) + "\n")
    window = AutoModelForCausalLM.from_pretrained(finished).config.max_position_embeddings
    values = rl_values(finished, file, tmp_path / "run", max_steps=1, max_completion_length=window - 500)
    pairs = run_rm_rl(*parsed(RL, values))["pairs"]
    assert (pairs["too_long"], pairs["pairs"]) == (1, 6)


def test_the_head_on_answers_alone_gives_the_numbers_of_trl(
    finished: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, compared, kept = VerdictTrainer._get_per_token_logps_and_entropies, [], []
    forward = LlamaForCausalLM.forward

    def watched(self: LlamaForCausalLM, *args: Any, **how: Any) -> Any:
        kept.append(how.get("logits_to_keep"))
        return forward(self, *args, **how)

    monkeypatch.setattr(LlamaForCausalLM, "forward", functools.wraps(forward)(watched))

    def both(self: VerdictTrainer, *args: Any, **how: Any) -> Any:
        found, wanted = own(self, *args, **how), GRPOTrainer._get_per_token_logps_and_entropies(self, *args, **how)
        for one, other in zip(found[:2], wanted[:2], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        compared.append(found[0].requires_grad and wanted[0].requires_grad)
        return found

    monkeypatch.setattr(VerdictTrainer, "_get_per_token_logps_and_entropies", both)
    run_rm_rl(*parsed(RL, rl_values(finished, pairs_file, tmp_path, temperature=1.3)))
    assert compared == [True, True]
    assert len([one for one in kept if one and one > 1]) == 2  # its own way was taken


@pytest.fixture(scope="module")
def reinforced(finished: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "rm-rl"
    run_rm_rl(*parsed(RL, rl_values(finished, pairs_file, out)))
    return out


def test_reinforcement_leaves_a_plain_model_and_an_honest_card(reinforced: Path) -> None:
    AutoModelForCausalLM.from_pretrained(reinforced)
    assert AutoTokenizer.from_pretrained(reinforced).chat_template
    results = json.loads((reinforced / "results.json").read_text())
    assert results["steps"] == 2 and results["pairs"]["rows"] == 12
    card = (reinforced / "README.md").read_text()
    assert "GRPO" in card and "answers to a prompt | 2" in card and "prompts seen, at most | 2" in card
    lines = [json.loads(line) for line in (reinforced / "metrics.jsonl").read_text().splitlines()]
    assert [line["verdict/unreadable"] for line in lines if "verdict/unreadable" in line]


def test_a_killed_reinforcement_goes_on(finished: Path, pairs_file: Path, tmp_path: Path) -> None:
    values = rl_values(finished, pairs_file, tmp_path / "killed", max_steps=3)
    run_to_the_kill("rl", values, 2)
    results = run_rm_rl(*parsed(RL, values))
    assert (results["resumed_from"], results["steps"]) == ("checkpoint-1", 3)


# -- as a user starts them


def recipe(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_recipe", ROOT / "recipes" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("rm_sft", "learning_rat: 0.1", "learning_rat"),
        ("rm_sft", "form: long", "form must be one of"),
        ("rm_sft", "dataset: ./nowhere.jsonl", "nowhere.jsonl"),
        ("rm_sft", "model_name_or_path: ./not_there", "not_there"),
        ("rm_sft", "decision_share: 1.0", "between 0 and 1"),
        ("rm_sft", "thinking_share: 0.5\nat_once: false", "at_once: true"),
        ("rm_sft", "decision_share: 0.5\nper_reply: false", "per_reply: true"),
        ("rm_sft", "rows_together: 0", "at least 1"),
        ("rm_rl", "form: long", "form must be one of"),
        ("rm_rl", "form_reward: 0.9", "small terms"),
        ("rm_rl", "max_pairs: 0", "no pair with a label"),
        ("rm_rl", "max_pairs: 1\ngradient_accumulation_steps: 4", "a step takes 4 prompts, but only 2 are left"),
        ("rm_rl", "least_doubt: 0.5\nreasoning: false", "between 0 and 0.5"),
        ("rm_rl", "least_doubt: 0.1", "reasoning: false"),
        ("rm_rl", "least_doubt: 0.49\nreasoning: false", "in doubt of none of 6 pairs"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    base: Path, pairs_file: Path, tmp_path: Path, name: str, line: str, said: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make = sft_values if name == "rm_sft" else rl_values
    values = {key: str(v) if isinstance(v, Path) else v for key, v in make(base, pairs_file, tmp_path / "o").items()}
    for given in line.splitlines():
        values.pop(given.split(":")[0], None)
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items()) + line + "\n"
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--config", str(tmp_path / "config.yaml")])
    assert recipe(name).main() == 1
    error = capsys.readouterr().err
    assert "Error:" in error and said in error


@pytest.mark.parametrize("stage", ["rm_sft", "rm_rl"])
@pytest.mark.parametrize("model", ["smollm2-135m", "qwen3-32b"])
def test_shipped_recipes_parse(model: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = ROOT / "recipes" / model / stage / "config.yaml"
    kinds: Any = SFT if stage == "rm_sft" else RL
    given = ["--config", str(file), "--use_cpu", "true", "--bf16", "false"]
    data, named, args = TrlParser(kinds).parse_args_and_config(given)
    assert data.dataset and named.model_name_or_path and args.seed == 42
    for name in ("bf16", "gradient_checkpointing", "seed", "form", "license"):
        assert f"\n{name}:" in file.read_text()


def test_pushing_takes_the_whole_folder_once(
    finished: Path, base: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    class Hub:
        def __init__(self, token: str | None = None) -> None: ...

        def create_repo(self, name: str, **how: Any) -> Any:
            return SimpleNamespace(repo_id=f"me/{name}", __str__=lambda self: name)

        def upload_folder(self, **how: Any) -> None:
            calls.append(how)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    run_rm_sft(*parsed(SFT, sft_values(base, pairs_file, finished, push_to_hub=True)))
    assert len(calls) == 1 and calls[0]["commit_message"] == "HER-RM, SFT"
    assert "run.json" in calls[0]["ignore_patterns"]


def test_pairs_of_a_swap_teach_the_same(base: Path) -> None:
    """Both orders of a pair are rows of their own with opposite labels."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", at_once=False, progress=False)
    said = [tokenizer.decode([t for t in row["labels"] if t != IGNORED]) for row in rows]
    assert '"verdict": "cand_1"' in said[0] and '"verdict": "cand_2"' in said[1]
