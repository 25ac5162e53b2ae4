"""One-pass training equals per-reply training: loss and every gradient."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from her_hf.processing.rows import IGNORED, build
from her_hf.processing.templates import training_template
from her_hf.training.one_pass.attention import block_mask, boolean_mask
from her_hf.training.one_pass.batches import plan_steps, share, share_alike
from her_hf.training.one_pass.branches import BRANCHES, spans_of, use_branches
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.config import OnePassConfig
from her_hf.training.one_pass.loss import loss_weights, token_losses, total_weight
from her_hf.training.one_pass.trainer import OnePassTrainer
from tests.support.one_pass import FIXTURES, conversation, conversations, tiny_model, tiny_tokenizer

MODELS = ("llama", "qwen3")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.detach().clone() for name, p in model.named_parameters() if p.grad is not None}


def worst(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Largest relative norm of the difference over all parameters."""
    assert found.keys() == wanted.keys()
    return max(float((found[name] - wanted[name]).norm() / wanted[name].norm()) for name in wanted)


def reference(
    model: Any, tokenizer: Any, scenes: Any, *, per_reply: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of ordinary training: each reply a sample, plain causal attention, plain logits."""
    samples = []
    for messages in scenes:
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or message["content"].startswith("Environment:"):
                continue
            rendered = tokenizer.apply_chat_template(
                messages[: index + 1],
                chat_template=training_template(tokenizer.get_chat_template()),
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            samples.append((torch.tensor(rendered["input_ids"]), torch.tensor(rendered["assistant_masks"]).bool()))
    total = len(samples) if per_reply else sum(int(mask.sum()) for _, mask in samples)
    model.zero_grad()
    loss = 0.0
    for ids, mask in samples:
        logits = model(input_ids=ids[None]).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")[mask[1:]]
        part = (losses.mean() if per_reply else losses.sum()) / total
        part.backward()
        loss += part.item()
    return loss, gradients(model)


def one_pass(
    model: Any, rows: list[Any], *, pack: bool, batch: int, per_reply: bool = False, attention: str = "sdpa"
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of rows, `batch` of them at a time, accumulated."""
    collator = OnePassCollator(pad_token_id=0, pack=pack)
    batches = [collator(rows[at : at + batch]) for at in range(0, len(rows), batch)]
    total = sum(int(total_weight(inputs, per_reply=per_reply)) for inputs in batches)
    model.zero_grad()
    loss = 0.0
    for inputs in batches:
        losses = token_losses(model, inputs, attention)
        part = (losses * loss_weights(inputs, losses.dtype, per_reply=per_reply)).sum() / total
        part.backward()
        loss += part.item()
    return loss, gradients(model)


LAYOUTS = [
    pytest.param({"pack": False, "batch": 1}, id="one row"),
    pytest.param({"pack": False, "batch": 3}, id="padding"),
    pytest.param({"pack": True, "batch": 3}, id="packing"),
    pytest.param({"pack": True, "batch": 2}, id="packing and accumulation"),
    pytest.param({"pack": True, "batch": 3, "per_reply": True}, id="mean in a reply"),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("attention", ["sdpa", BRANCHES])
def test_equals_per_reply(tokenizer: Any, kind: str, layout: dict[str, Any], attention: str) -> None:
    model = tiny_model(kind, len(tokenizer))
    if attention == BRANCHES:
        assert use_branches(model) == BRANCHES
    scenes = conversations()
    rows = [row for messages in scenes for row in build(messages, tokenizer)]
    assert len(rows) == 3
    loss, found = one_pass(model, rows, attention=attention, **layout)
    wanted_loss, wanted = reference(model, tokenizer, scenes, per_reply=layout.get("per_reply", False))
    assert loss == pytest.approx(wanted_loss, rel=1e-12)
    assert worst(found, wanted) < 1e-8


def test_a_wrong_limit_is_noticed(tokenizer: Any) -> None:
    """The equality test can fail: a branch that sees one token less of its trunk changes the gradients."""
    model = tiny_model("llama", len(tokenizer))
    rows = list(build(conversation(3), tokenizer))
    rows[0]["branches"][1][2] -= 1
    _, found = one_pass(model, rows, pack=False, batch=1)
    _, wanted = reference(model, tokenizer, [conversation(3)])
    assert worst(found, wanted) > 1e-4


def test_small_rows_and_environment(tokenizer: Any) -> None:
    """Rows cut by `row_length`, and an assistant message of the Environment, which is context and never trained."""
    messages = conversation(4)
    messages += [
        {"role": "assistant", "content": "Environment: The lamp dies."},
        {"role": "user", "content": "Odo: Ha."},
    ]
    messages += [dict(messages[2])]
    longest = max(len(row["input_ids"]) for row in build(messages, tokenizer, one_pass=False))
    rows = build(messages, tokenizer, row_length=longest)
    assert len(rows) > 1 and rows.report.row_full and rows.report.environment == 1 and not rows.report.dropped_turns
    model = tiny_model("llama", len(tokenizer))
    loss, found = one_pass(model, list(rows), pack=True, batch=2)
    wanted_loss, wanted = reference(model, tokenizer, [messages])
    assert loss == pytest.approx(wanted_loss, rel=1e-12)
    assert worst(found, wanted) < 1e-8


class CatchGradients(TrainerCallback):
    """Keeps the gradients of the first optimizer step."""

    found: dict[str, torch.Tensor]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not hasattr(self, "found"):
            self.found = gradients(model)


def config(folder: Any, **settings: Any) -> OnePassConfig:
    defaults = {
        "output_dir": str(folder), "use_cpu": True, "max_grad_norm": 0.0, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-3, "seed": 3, "dataloader_pin_memory": False,
    }  # fmt: skip
    return OnePassConfig(**{**defaults, **settings})


TRAINER_CASES = [
    pytest.param({"loss_head": "plain"}, 1e-8, id="plain"),
    pytest.param({"loss_head": "fused"}, 1e-6, id="fused"),
    pytest.param({"loss_head": "plain", "gradient_accumulation_steps": 2}, 1e-8, id="accumulation"),
    pytest.param({"loss_head": "fused", "gradient_accumulation_steps": 3, "pack_rows": True}, 1e-6, id="packed"),
    pytest.param({"loss_head": "plain", "gradient_accumulation_steps": 4, "pack_rows": True}, 1e-8, id="empty batch"),
    pytest.param({"loss_head": "plain", "per_reply": True, "gradient_accumulation_steps": 2}, 1e-8, id="per reply"),
    pytest.param({"loss_head": "plain", "one_pass": False, "gradient_accumulation_steps": 2}, 1e-8, id="ordinary"),
    pytest.param({"loss_head": "fused", "gradient_checkpointing": True}, 1e-6, id="checkpointing"),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("settings", "bound"), TRAINER_CASES)
def test_trainer_equals_per_reply(
    tokenizer: Any, tmp_path: Any, kind: str, settings: dict[str, Any], bound: float
) -> None:
    scenes = conversations()
    one = settings.get("one_pass", True)
    rows = [row for messages in scenes for row in build(messages, tokenizer, one_pass=one)]
    model = tiny_model(kind, len(tokenizer))
    wanted_loss, wanted = reference(model, tokenizer, scenes, per_reply=settings.get("per_reply", False))
    catch = CatchGradients()
    trainer = OnePassTrainer(
        model,
        config(tmp_path, max_steps=1, replies_per_step=9, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[catch],
    )
    trainer.train()
    assert worst(catch.found, wanted) < bound
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert logged["loss"] == pytest.approx(wanted_loss, rel=1e-4)
    assert logged["num_tokens"] == sum(len(row["input_ids"]) for row in rows)
    assert logged["num_replies"] == 9


def test_trl_changes_no_row(tokenizer: Any, tmp_path: Any) -> None:
    """Rows far beyond TRL's own limits reach the model whole, in every epoch, whatever the split into steps."""
    rows = [row for count in (40, 7, 3) for row in build(conversation(count), tokenizer)]
    assert max(len(row["input_ids"]) for row in rows) > 4096
    model = tiny_model("llama", len(tokenizer), dtype=torch.float32, max_position_embeddings=16384)
    seen: list[dict[str, torch.Tensor]] = []

    class Spy(OnePassTrainer):
        def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:
            seen.append(inputs)
            return (model.lm_head.weight * 0).sum()

    trainer = Spy(
        model,
        config(tmp_path, num_train_epochs=2, replies_per_step=8),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    trained = sum(int((inputs["labels"] != IGNORED).sum()) for inputs in seen)
    assert trained == 2 * sum(label != IGNORED for row in rows for label in row["labels"])
    replies = [int(total_weight(inputs, per_reply=True)) for inputs in seen]
    assert replies == [8] * 6 + [2] + [8] * 6 + [2]
    assert len(trainer.train_dataset) == len(rows)


@pytest.mark.parametrize(
    ("kind", "overrides", "words"),
    [
        ("llama", {"attn_implementation": "eager"}, "eager"),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, "sliding"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic"),
    ],
)
def test_models_that_would_be_wrong_are_refused(
    tokenizer: Any, tmp_path: Any, kind: str, overrides: dict[str, Any], words: str
) -> None:
    model = tiny_model(kind, len(tokenizer), **overrides)
    rows = Dataset.from_list(list(build(conversation(1), tokenizer)))
    with pytest.raises(ValueError, match=words):
        OnePassTrainer(model, config(tmp_path), train_dataset=rows, processing_class=tokenizer)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 1024}, "max_tokens"),
        ({"packing": True}, "pack_rows"),
        ({"remove_unused_columns": True}, "position_ids"),
        ({"per_device_train_batch_size": 8}, "replies_per_step"),
        ({"replies_per_step": 2, "gradient_accumulation_steps": 4}, "at least 4"),
        ({"max_tokens": 512, "row_tokens": 128}, "window"),
        ({"loss_head": "odd"}, "loss_head"),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers=2.*made already"),
        ({"dataloader_num_workers": 2, "dataloader_persistent_workers": True}, "no workers"),
        ({"dataloader_drop_last": True}, "no reply is left out"),
        ({"train_sampling_strategy": "sequential"}, "planned in replies"),
    ],
)
def test_settings_that_spoil_rows_are_refused(tmp_path: Any, settings: dict[str, Any], words: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=words):
        warnings.simplefilter("ignore")
        config(tmp_path, **settings)


def test_a_row_is_the_window_where_none_is_given(tmp_path: Any) -> None:
    assert config(tmp_path, row_tokens=600).max_tokens == 600
    assert config(tmp_path, row_tokens=600, max_tokens=500).max_tokens == 500


def test_steps_hold_as_many_replies_as_asked() -> None:
    replies = [5, 3, 9, 1, 4, 2, 7, 1, 6]
    steps = plan_steps(replies, 8, seed=1)
    sizes = [sum(len(branches) for _, branches in step) for step in steps]
    assert sizes == [8, 8, 8, 8, 6]
    trained = sorted((row, branch) for step in steps for row, branches in step for branch in branches)
    assert trained == sorted((row, branch) for row, count in enumerate(replies) for branch in range(count))
    assert plan_steps(replies, 8, seed=1) == steps != plan_steps(replies, 8, seed=2)


def test_neighbours_come_into_the_same_step() -> None:
    replies = [1, 1, 2, 2, 1, 1] * 40
    steps = plan_steps(replies, 10, seed=3, together=2)
    assert all(sum(len(branches) for _, branches in step) == 10 for step in steps[:-1])
    parted = [row for step in steps[:-3] for row, _ in step if row ^ 1 not in {other for other, _ in step}]
    assert not parted and len(steps) == 32
    assert [row for step in steps for row, _ in step] != list(range(len(replies)))
    trained = sorted((row, branch) for step in steps for row, branches in step for branch in branches)
    assert trained == [(row, branch) for row, count in enumerate(replies) for branch in range(count)]


def test_neighbours_larger_than_a_step_are_parted() -> None:
    steps = plan_steps([3, 3], 4, seed=None, together=2)
    assert steps == [[(0, (0, 1, 2)), (1, (0,))], [(1, (1, 2))]]


def test_rows_of_a_step_are_dealt_to_micro_batches() -> None:
    costs = {0: 90, 1: 30, 2: 29, 3: 31, 4: 88, 5: 30}
    pieces = [(row, (0,)) for row in costs]
    even = share(pieces, 3, lambda piece: costs[piece[0]])
    assert sorted(sum(costs[row] for row, _ in part) for part in even) == [90, 91, 117]
    alike = share_alike(pieces, 3, lambda piece: costs[piece[0]])
    assert [sorted(row for row, _ in part) for part in alike] == [[0], [3, 4], [1, 2, 5]]
    assert share_alike(pieces[:1], 3, lambda piece: costs[piece[0]]).count([]) == 2


@pytest.mark.slow
def test_equals_per_reply_on_smollm2(tmp_path: Any) -> None:
    """The real base in float32: relative norm of each gradient's difference below 1e-5."""
    from transformers import AutoModelForCausalLM

    from her_hf.hub.base import embedded_gguf, write_base
    from her_hf.training.run.tokenizers import her_tokenizer

    try:
        embedded_gguf()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    folder = write_base(tmp_path / "base")
    smollm2 = her_tokenizer(str(folder))
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    scenes = conversations()[:2]
    wanted_loss, wanted = reference(model, smollm2, scenes)
    rows = [row for messages in scenes for row in build(messages, smollm2)]
    for attention in ("sdpa", use_branches(model)):
        loss, found = one_pass(model, rows, pack=True, batch=2, attention=attention)
        assert loss == pytest.approx(wanted_loss, rel=1e-6)
        assert worst(found, wanted) < 1e-5


def test_benchmark(
    tokenizer: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures on a tiny model: both sides train the same, thinking is filled in where there is none."""
    from recipes.benchmarks import one_pass as benchmark

    tokenizer.save_pretrained(tmp_path)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(tmp_path)
    row = json.loads((FIXTURES / "scenes" / "mini.jsonl").read_text(encoding="utf-8").splitlines()[0])
    for turn in row["dialogues"]:
        turn.pop("sys_thinking_revised", None)
    (tmp_path / "bare.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    def figures(*words: str) -> dict[str, Any]:
        common = ["--source", str(tmp_path / "bare.jsonl"), "--model", str(tmp_path), "--device", "cpu"]
        monkeypatch.setattr("sys.argv", ["one_pass.py", *common, *words])
        benchmark.main()
        return dict(json.loads(capsys.readouterr().out))

    found = figures("--thinking", "30", "--dtype", "float64", "--conversations", "2")
    assert found["conversations"] == found["timed_conversations"] == 2 and found["replies"] == 4
    assert (
        found["token_ratio"]
        == found["timed_token_ratio"]
        == pytest.approx(found["tokens_per_reply"] / found["tokens_one_pass"], abs=1e-3)
    )
    assert found["loss_difference"] < 1e-6 and found["gradient_difference_worst"] < 1e-6
    less = figures("--thinking", "10", "--tokens-only")
    closed = 4 * 20  # 30 tokens of thinking rather than 10, in each of 4 replies
    assert found["tokens_per_reply"] - less["tokens_per_reply"] == closed
    assert "wall_time_ratio" not in less


@pytest.mark.parametrize("pack", [False, True])
def test_masks_agree(tokenizer: Any, pack: bool) -> None:
    """The mask of sdpa, FlexAttention's, and the spans say the same of every pair of tokens that are no padding."""
    rows = [row for messages in conversations() for row in build(messages, tokenizer)]
    inputs = OnePassCollator(pad_token_id=0, pack=pack)(rows)
    numbers = inputs["own"], inputs["parent"], inputs["limit"]
    mask = boolean_mask(*numbers)[:, 0]
    at = torch.arange(mask.size(1))
    blocks = block_mask(*numbers)
    for row, spans in enumerate(spans_of(inputs["spans"])):
        flex = blocks.mask_mod(torch.tensor(row), torch.tensor(0), at[:, None], at[None, :])
        assert torch.equal(flex, mask[row])
        seen = torch.zeros_like(mask[row])
        for start, end, first, last in spans:
            seen[start:end, first:last] = True
            seen[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
        real = inputs["own"][row] >= 0
        assert torch.equal(seen[real], mask[row][real])
        assert not mask[row][real][:, ~real].any()
