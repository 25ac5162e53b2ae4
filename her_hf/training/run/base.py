"""The base of a run: its tokenizer and configuration, which weights they belong to, and the loaded model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.logging import get_logger
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file
from trl import ModelConfig, get_quantization_config

from her_hf.devices import settle_dtype
from her_hf.hub.base import EMBEDDED, weights_fingerprint, write_base
from her_hf.processing import check_embeddings
from her_hf.processing.attach import read_config
from her_hf.processing.companions import knows_more_than_text

from ..internals import causal_lm_class

logger = get_logger(__name__)

EMBEDDED_FOLDER = "outputs/base"
"""Where the embedded base is written when a recipe names it, relative to the working directory."""


@dataclass(frozen=True)
class Base:
    """What a run starts from, before its weights are loaded.

    Args:
        name (`str`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.
        tokenizer (`PreTrainedTokenizerBase`): What the run trains with and saves.
        config (`PreTrainedConfig`): Configuration of the model.
    """

    name: str
    revision: str | None
    tokenizer: PreTrainedTokenizerBase
    config: PreTrainedConfig

    @property
    def weights(self) -> str:
        """Identifies the weights behind the name: a fingerprint of a folder, the commit of a Hub id."""
        if Path(self.name).is_dir():
            return weights_fingerprint(self.name)
        file = cached_file(self.name, "config.json", revision=self.revision)
        return Path(file).parent.name  # …/snapshots/COMMIT/config.json


def open_base(model_config: ModelConfig, read_tokenizer: Callable[[str, str | None], PreTrainedTokenizerBase]) -> Base:
    """Reads tokenizer and configuration of the base that a recipe names.

    Args:
        model_config (`ModelConfig`): TRL's model settings: name and revision.
        read_tokenizer (`Callable`): From name and revision to the tokenizer, such as
            [`~her_hf.training.run.tokenizers.her_tokenizer`].

    Raises:
        `ValueError`: If no base is named, or it cannot be trained with this tokenizer.
    """
    name = resolve_base(str(model_config.model_name_or_path))
    tokenizer = read_tokenizer(name, model_config.model_revision)
    config = base_config(name, model_config.model_revision, tokenizer)
    return Base(name, model_config.model_revision, tokenizer, config)


def resolve_base(name: str) -> str:
    """The base as transformers takes it; the embedded one is written as a folder first."""
    if not name or name == "None":
        raise ValueError("no base model is named: set model_name_or_path to a folder, a Hub id, or smollm2-135m")
    if name != EMBEDDED:
        return name
    with PartialState().main_process_first():
        return str(write_base(Path(EMBEDDED_FOLDER) / EMBEDDED))


def base_config(base: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The configuration of `base`, checked to be trainable with this tokenizer.

    Raises:
        `ValueError`: If it cannot be read, is not a language model for text, or the tokenizer has tokens beyond the
            embeddings.
    """
    config = read_config(base, revision)
    _check_text_model(config, base)
    check_embeddings(tokenizer, config, base)
    return config


def _check_text_model(config: PreTrainedConfig, base: str) -> None:
    """Refuses a base that would not be trained and saved as a language model for text alone."""
    model = causal_lm_class(config)
    if model is not None and not (knows_more_than_text(config) and model.config_class is type(config)):
        if knows_more_than_text(config):
            logger.warning(
                f"{base} reads more than text: only its text model is trained, and only that is in the result"
            )
        return
    what = "reads more than text" if knows_more_than_text(config) else "is not a language model"
    raise ValueError(
        f"{base} {what} (its config.json says model_type {config.model_type}), and transformers has no text model for "
        "it: HER trains text. Name the language model that it was made from. (her-hf attach takes it, for serving.)"
    )


def window_of(max_context: int | None, config: PreTrainedConfig) -> int | None:
    """The window in tokens: the one asked for, limited to the positions of the model."""
    positions = positions_of(config)
    if positions is None or (max_context is not None and max_context <= positions):
        return max_context
    if max_context is None:
        logger.info(f"max_context is not set: the window is that of the model, {positions} tokens")
    else:
        logger.warning(
            f"max_context is {max_context}, but the model has {positions} positions (max_position_embeddings): the "
            f"window is {positions} tokens"
        )
    return positions


def positions_of(config: PreTrainedConfig) -> int | None:
    """Number of positions of a model, prompt and answer together; `None` if its configuration does not say."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def load_model(base: str, config: ModelConfig, device: str) -> PreTrainedModel:
    """The base model with the attention that the recipe names (sdpa by default), in its dtype as far as the device
    computes in it."""
    kwargs: dict[str, Any] = {
        "revision": config.model_revision,
        "dtype": settle_dtype(config.dtype or "float32", device),
        "attn_implementation": config.attn_implementation or "sdpa",
    }
    quantization = get_quantization_config(config)
    if quantization is not None:
        kwargs["quantization_config"] = quantization
    return AutoModelForCausalLM.from_pretrained(base, **kwargs)
