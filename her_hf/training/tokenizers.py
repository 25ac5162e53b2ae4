"""The tokenizer of a base, with the HER template."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


def her_tokenizer(base: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of `base` with the HER template, attached if it has none.

    Args:
        base (`str`): Folder or Hub id.
        revision (`str`, *optional*): Revision on the Hub.

    Returns:
        `PreTrainedTokenizerBase`: The tokenizer; its folder alone carries the method once it is saved.

    Raises:
        `ValueError`: If the base has no chat template that the method can be attached to.
    """
    from transformers import AutoTokenizer

    from her_hf.processing import HERProcessor

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base, revision=revision)
    except OSError as error:
        raise ValueError(
            f"no tokenizer could be loaded from {base!r}: name a model folder or a Hub id ({error})"
        ) from error
    if has_her_template(tokenizer):
        return tokenizer
    attached: PreTrainedTokenizerBase = HERProcessor.attach(tokenizer).tokenizer
    return attached


def base_config(base: str, revision: str | None, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """The configuration of `base`, once it is known that the base can be trained with this tokenizer.

    Raises:
        `ValueError`: If it cannot be read, or the tokenizer has tokens beyond the embeddings.
    """
    from her_hf.processing.attach import read_config
    from her_hf.processing.embeddings import check_embeddings

    config = read_config(base, revision)
    check_embeddings(tokenizer, config, base)
    return config


def has_her_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer carries all of HER: chat template, scene prompt and response template."""
    from her_hf.processing.templates import SCENE

    templates = tokenizer.chat_template
    return isinstance(templates, dict) and SCENE in templates and bool(getattr(tokenizer, "response_template", None))
