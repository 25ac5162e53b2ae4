"""The tokenizer of a base, with the HER template."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def her_tokenizer(base: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `base` with the HER template, attached if it has none.

    Args:
        base (`str`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Returns:
        `PreTrainedTokenizerBase`: The tokenizer; its folder alone carries the method once it is saved.

    Raises:
        `ValueError`: If there is no tokenizer, or no chat template that the method can be attached to.
    """
    from her_hf.processing import HERProcessor
    from her_hf.processing.attach import load_tokenizer

    tokenizer = load_tokenizer(base, revision)
    if has_her_template(tokenizer):
        return tokenizer
    attached: PreTrainedTokenizerBase = HERProcessor.attach(tokenizer).tokenizer
    return attached


def base_config(base: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The configuration of `base`, once it is known that the base can be trained with this tokenizer.

    Raises:
        `ValueError`: If it cannot be read, is no language model for text, or the tokenizer has tokens beyond the
            embeddings.
    """
    from her_hf.processing import check_embeddings
    from her_hf.processing.attach import read_config

    config = read_config(base, revision)
    _check_text_model(config, base)
    check_embeddings(tokenizer, config, base)
    return config


def _check_text_model(config: PreTrainedConfig, base: str) -> None:
    """Refuses a base that would not be trained and saved as a language model for text alone."""
    from transformers import AutoModelForCausalLM

    from her_hf.processing.companions import knows_more_than_text

    known = AutoModelForCausalLM._model_mapping
    kind = known.get(type(config), None)
    if kind is not None and not (knows_more_than_text(config) and kind.config_class is type(config)):
        if knows_more_than_text(config):
            logger.warning(
                f"{base} reads more than text: its text model is trained, and nothing else is in the result"
            )
        return
    what = "reads more than text" if knows_more_than_text(config) else "is no language model"
    raise ValueError(
        f"{base} {what} (its config.json says model_type {config.model_type}), and transformers has no text model for "
        "it: HER trains text. Name the language model that it was made from. (her-hf attach takes it, for serving.)"
    )


def has_her_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer carries all of HER: chat template, scene prompt and response template."""
    from her_hf.processing.templates import SCENE

    templates = tokenizer.chat_template
    return isinstance(templates, dict) and SCENE in templates and bool(getattr(tokenizer, "response_template", None))
