"""A reward model in this process, on a tiny random checkpoint: likelihoods, settings, its own template."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from her_hf.inference import Caller, Ledger, open_model
from her_hf.inference.local import LocalModel
from her_hf.judging import PairJudging, PairwiseJudge
from her_hf.judging.pairwise.reward_model import (
    SETTINGS_FILE,
    HERRewardModel,
    trained_settings,
    write_reward_settings,
)
from tests.support.one_pass import FIXTURES, tiny_model
from tests.support.pairs import a_pair
from tests.support.token_server import serving_tokens

BY_PROBABILITY = PairJudging(form="compact", reasoning=False, read="probability")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rm") / "tiny"
    shutil.copytree(FIXTURES / "tokenizers" / "smollm2", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tiny_model("llama", len(tokenizer), dtype=torch.float32).save_pretrained(folder)
    write_reward_settings(folder, form="compact")
    return folder


def test_a_reward_model_speaks_through_its_own_template(checkpoint: Path) -> None:
    model = LocalModel.load(str(checkpoint), attach=False)
    assert model.notes == []
    shown = asyncio.run(model.prompt([{"role": "user", "content": "Which?"}], thinking=False)).text
    assert "system_thinking" not in shown and shown.endswith("assistant\n")


def test_likelihoods_are_those_of_the_whole_answer(checkpoint: Path) -> None:
    model = LocalModel.load(str(checkpoint), attach=False)
    messages = [{"role": "user", "content": "Which?"}]
    answers = ['{"verdict": "cand_1"}', '{"verdict": "tie"}', "no"]
    found = asyncio.run(model.likelihoods(messages, answers))
    tokenizer, network = model._tokenizer, model._model
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    for answer, value in zip(answers, found, strict=True):
        ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = network(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
        wanted = sum(logits[len(prompt) - 1 + at, token].item() for at, token in enumerate(ids))
        assert value == pytest.approx(wanted, abs=1e-4)


def test_probabilities_add_up_and_are_kept(checkpoint: Path, tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        caller = Caller(open_model(str(checkpoint), attach=False), ledger=ledger)
        found = asyncio.run(PairwiseJudge(caller, BY_PROBABILITY).judge(a_pair()))
        assert caller.spent.asked == 2
        for order in found.per_order:
            assert order.probabilities is not None and math.isclose(sum(order.probabilities.values()), 1.0)
        again = Caller(open_model(str(checkpoint), attach=False), ledger=ledger)
        assert asyncio.run(PairwiseJudge(again, BY_PROBABILITY).judge(a_pair())) == found
        assert (again.spent.asked, again.spent.kept) == (0, 2)


def test_from_pretrained_asks_in_the_form_it_was_trained_on(checkpoint: Path) -> None:
    assert trained_settings(checkpoint) == PairJudging(form="compact")
    assert trained_settings(checkpoint, attempts=1, seed=None).attempts == 1
    write_reward_settings(checkpoint, form="compact", reasoning=False)
    assert trained_settings(checkpoint) == PairJudging(form="compact", reasoning=False)
    assert trained_settings(checkpoint, reasoning=True).reasoning
    write_reward_settings(checkpoint, form="compact")
    model = HERRewardModel.from_pretrained(checkpoint, settings=BY_PROBABILITY)
    pair = a_pair()
    found = model.compare(pair.prompt, pair.cand_1, pair.cand_2)
    assert found.verdict in ("cand_1", "cand_2", "tie") and found.confidence is not None
    with pytest.raises(ValueError, match="the same text"):
        model.compare(pair.prompt, pair.cand_1, pair.cand_1)


def test_a_url_does_not_say_how_its_model_is_asked(checkpoint: Path, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    with pytest.raises(ValueError, match=r"does not say how .*--checkpoint.*--form published"):
        trained_settings(url, reasoning=False)
    assert trained_settings(url, form="published") == PairJudging()
    assert trained_settings(url, checkpoint=checkpoint) == PairJudging(form="compact")
    assert trained_settings(url, checkpoint=checkpoint, reasoning=False) == PairJudging(
        form="compact", reasoning=False
    )
    with pytest.raises(FileNotFoundError, match=r"has no reward_model\.json"):
        trained_settings(url, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="for a server only"):
        trained_settings(checkpoint, checkpoint=checkpoint)


def test_a_reward_model_at_a_url(checkpoint: Path) -> None:
    pair = a_pair()
    with serving_tokens() as server:
        with pytest.raises(ValueError, match="does not say how"):
            HERRewardModel.from_pretrained(server.url)
        model = HERRewardModel.from_pretrained(server.url, settings=BY_PROBABILITY, model="rm", concurrency=2)
        found = model.compare(pair.prompt, pair.cand_1, pair.cand_2)
        assert model.fingerprint()["model"]["model"] == "rm"
        model.close()
    assert found.verdict in ("cand_1", "cand_2", "tie") and found.missing is None
    assert len(server.asked("/v1/completions")) == 2


def test_it_can_be_asked_again_and_from_a_running_loop(checkpoint: Path) -> None:
    model = HERRewardModel.from_pretrained(checkpoint, settings=BY_PROBABILITY, concurrency=2)
    pairs = [a_pair(number) for number in range(6)]
    first = model.judge(pairs)

    async def notebook() -> Any:
        return model.judge(pairs)

    assert asyncio.run(notebook()) == first == model.judge(pairs)


def test_a_random_model_gives_no_readable_answer_and_no_verdict(checkpoint: Path) -> None:
    settings = PairJudging(form="compact", attempts=1, max_tokens=8)
    (found,) = HERRewardModel.from_pretrained(checkpoint, settings=settings).judge([a_pair()])
    assert found.verdict is None and found.missing is not None


def test_a_spoilt_note_in_the_folder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"form": "long"}))
    with pytest.raises(ValueError, match=r"reward_model\.json: form must be one of"):
        trained_settings(tmp_path)


def test_a_folder_without_a_chat_template_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(checkpoint, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template"):
        open_model(str(folder), attach=False)
