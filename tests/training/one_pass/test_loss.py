"""One-pass training equals per-reply training: loss and every gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from her_hf.processing.rows import build
from her_hf.processing.trunk import IGNORED, Row, take
from her_hf.training.one_pass.branches import BRANCHES, use_branches
from her_hf.training.one_pass.collator import OnePassCollator
from her_hf.training.one_pass.loss import loss_weights, token_losses, total_weight
from her_hf.training.reward_model.rows import PairReport, reward_rows
from tests.support.gradients import one_pass, reference, worst
from tests.support.one_pass import conversation, conversations, tiny_model, tiny_tokenizer
from tests.support.pairs import a_pair


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


MODELS = ("llama", "qwen3")


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


@pytest.mark.parametrize(
    ("base", "kind"),
    [("mistral-v3", "mistral"), ("mistral-v3-tekken", "mistral"), ("mistral-v7-tekken", "mistral"), ("glm4", "glm4")],
)
@pytest.mark.parametrize("attention", ["sdpa", BRANCHES])
def test_every_frame_equals_per_reply(base: str, kind: str, attention: str) -> None:
    """Also without any token between the prompt and a reply without system thinking (the second conversation)."""
    tokenizer = tiny_tokenizer(base)
    model = tiny_model(kind, len(tokenizer))
    if attention == BRANCHES:
        assert use_branches(model) == BRANCHES
    scenes = conversations()
    built = [build(messages, tokenizer) for messages in scenes]
    assert [len(rows) for rows in built] == [1, 1, 1] and built[1].report.without_thinking == 1
    loss, found = one_pass(model, [row for rows in built for row in rows], pack=True, batch=3, attention=attention)
    wanted_loss, wanted = reference(model, tokenizer, scenes)
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
    """Rows cut by `row_tokens`, and an assistant message of the Environment, which is context and never trained."""
    messages = conversation(4)
    messages += [
        {"role": "assistant", "content": "Environment: The lamp dies."},
        {"role": "user", "content": "Odo: Ha."},
    ]
    messages += [dict(messages[2])]
    longest = max(len(row["input_ids"]) for row in build(messages, tokenizer, one_pass=False))
    rows = build(messages, tokenizer, row_tokens=longest)
    assert len(rows) > 1 and rows.report.row_full and rows.report.environment == 1 and not rows.report.dropped_turns
    model = tiny_model("llama", len(tokenizer))
    loss, found = one_pass(model, list(rows), pack=True, batch=2)
    wanted_loss, wanted = reference(model, tokenizer, [messages])
    assert loss == pytest.approx(wanted_loss, rel=1e-12)
    assert worst(found, wanted) < 1e-8


@pytest.mark.slow
def test_equals_per_reply_on_smollm2(tmp_path: Any) -> None:
    """The real base in float32: relative norm of each gradient's difference below 1e-5."""

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


def test_the_loss_is_weighed_as_the_rows_say(base: Path) -> None:
    """Half a row (one of its answers) keeps its weights too."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    made = reward_rows([a_pair()], tokenizer, PairReport(), form="compact", decision_share=0.6, progress=False)
    rows = [made[0], take(cast(Row, {name: made[1][name] for name in Row.__annotations__}), [1])]
    batch = OnePassCollator(pad_token_id=0)(rows)
    weights = loss_weights(batch, torch.float64, per_reply=True)
    assert [round(sum(weights[row]).item(), 5) for row in (0, 1)] == [2, 1] and total_weight(batch) == 3
    assert ((weights > 0) == (batch["labels"] != IGNORED)).all()


@pytest.mark.parametrize("name", ["final_logit_softcapping", "logit_scale", "lm_head_multiplier", "output_multiplier"])
def test_a_model_that_scales_its_logits_applies_its_own_head(tokenizer: Any, name: str) -> None:
    """The head alone would give other logits, and so a loss that is silently wrong."""
    model = tiny_model("llama", len(tokenizer))
    batch = OnePassCollator(pad_token_id=0)(
        [row for messages in conversations() for row in build(messages, tokenizer)]
    )
    head_calls: list[int] = []
    model.lm_head.register_forward_hook(lambda module, given, logits: head_calls.append(logits.dim()))
    token_losses(model, batch, "sdpa")
    assert head_calls == [3, 2]  # the model's own, for one position, and ours for the trained ones
    head_calls.clear()
    setattr(model.config, name, 0.5)
    token_losses(model, batch, "sdpa")
    assert head_calls == [3]
