"""Which weights a run leaves as they are."""

from __future__ import annotations

from typing import Any

import pytest

from her_hf.training.run.freezing import freeze
from tests.support.one_pass import tiny_model


def trained(model: Any) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_only_the_last_layers_and_the_norm_are_trained(kind: str) -> None:
    model = tiny_model(kind, 64)
    count = model.config.num_hidden_layers
    freeze(model, last_layers=1)
    names = trained(model)
    assert "model.norm.weight" in names
    assert (
        all(name.startswith(f"model.layers.{count - 1}.") for name in names - {"model.norm.weight"}) and len(names) > 1
    )


def test_embeddings_alone() -> None:
    model = tiny_model("llama", 64)
    everything = trained(model)
    freeze(model, embeddings=True)
    assert everything - trained(model) <= {"model.embed_tokens.weight", "lm_head.weight"} != set()
    assert "model.embed_tokens.weight" not in trained(model)


def test_more_layers_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"train_last_layers is 99, but the model has \d+ decoder layers"):
        freeze(tiny_model("llama", 64), last_layers=99)
