"""Tokenizers of a base: with the HER template for role-play, with the base's own for a reward model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


def her_tokenizer(base: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `base` with the HER template, which is attached if it has none.

    Args:
        base (`str`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Returns:
        `PreTrainedTokenizerBase`: The tokenizer; once saved, its folder alone carries the method.

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


def plain_tokenizer(base: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `base` with its own chat template, made to accept conversations without a system message too.

    Args:
        base (`str`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Raises:
        `ValueError`: If there is no tokenizer, or no chat template that renders a conversation.
    """
    from her_hf.processing import take_any_roles
    from her_hf.processing.attach import load_tokenizer

    tokenizer = load_tokenizer(base, revision)
    if tokenizer.chat_template is None:
        raise ValueError(f"{base} has no chat template: name a chat model, a reward model is trained from one")
    if note := take_any_roles(tokenizer):
        logger.info(note)
    return tokenizer


def has_her_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer carries all of HER: chat template, scene prompt and response template."""
    from her_hf.processing.templates import SCENE

    templates = tokenizer.chat_template
    return isinstance(templates, dict) and SCENE in templates and bool(getattr(tokenizer, "response_template", None))
