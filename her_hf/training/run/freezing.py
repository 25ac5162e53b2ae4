"""Which weights a run does not train."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def freeze(model: PreTrainedModel, *, embeddings: bool = False, last_layers: int | None = None) -> None:
    """Freezes embeddings, or all but the last decoder layers, in place.

    Args:
        model (`PreTrainedModel`): A causal language model.
        embeddings (`bool`, *optional*, defaults to `False`): Freeze input embeddings and head.
        last_layers (`int`, *optional*): Train only this many decoder layers, the last ones. Layers below
            them need no backward pass, which saves time and memory.

    Raises:
        `ValueError`: If the model has fewer decoder layers.
    """
    if last_layers is not None:
        layers = _decoder_layers(model)
        if last_layers > len(layers):
            raise ValueError(f"train_last_layers is {last_layers}, but the model has {len(layers)} decoder layers")
        for layer in layers[: len(layers) - last_layers]:
            layer.requires_grad_(False)
    if embeddings or last_layers is not None:
        for part in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
            part.requires_grad_(False)


def _decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The stack of decoder layers: the list with as many modules as the configuration says."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"{type(model).__name__} has no list of {count} decoder layers: leave train_last_layers out")
