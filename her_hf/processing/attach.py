"""Attaching the method to a tokenizer, and loading a base's tokenizer and configuration."""

from __future__ import annotations

import copy
from os import PathLike
from typing import TYPE_CHECKING

from her_hf.durable import read_json
from her_hf.references import check_model

from .frames import find_frame, token_id, typed_tokens
from .internals import keep_processor_class, optional_file
from .response import response_template
from .templates import SCENE, chat_template, scene_template

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase, ProcessorMixin

_LEGACY = "chat_template.json"


def attach_tokenizer(
    base: PreTrainedTokenizerBase | ProcessorMixin | str | PathLike[str], *, bare_prefill: bool = False
) -> PreTrainedTokenizerBase:
    """A tokenizer with HER's templates in place of its own. See [`HERProcessor.attach`].

    The end-of-turn token becomes the tokenizer's `eos_token`, which trainers and servers stop at. A padding token is
    set only if there is none. Other named templates of the base (`tool_use`, …) are dropped: they would bypass the
    rules.
    """
    if isinstance(base, (str, PathLike)):
        tokenizer = load_tokenizer(base)
    else:
        tokenizer = copy.deepcopy(getattr(base, "tokenizer", base))
    frame, begin = find_frame(tokenizer)
    tokenizer.chat_template = {
        "default": chat_template(
            frame, begin=begin, typed_tokens=typed_tokens(tokenizer, frame), bare_prefill=bare_prefill
        ),
        SCENE: scene_template(),
    }
    tokenizer.response_template = response_template(frame)
    if tokenizer.pad_token is None:
        spares = (*frame.other_ends, "<pad>")
        spare = next((token for token in spares if token_id(tokenizer, token) is not None), frame.turn_end)
        tokenizer.pad_token = spare
    tokenizer.eos_token = frame.turn_end
    keep_processor_class(tokenizer, "HERProcessor")
    return tokenizer


def load_tokenizer(base: str | PathLike[str], revision: str | None = None) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a folder or Hub id, with the chat template that older processors keep in a separate file.

    Raises:
        `FileNotFoundError`: If there is no such folder, nor a model of that name on the Hub.
        `ValueError`: If no tokenizer can be loaded.
    """
    from transformers import AutoTokenizer

    check_model(base)
    try:
        # Where mistral-common is installed, a folder with tekken.json would give its tokenizer, which has no template.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base, revision=revision, mistral_format=False
        )
        legacy = None
        if tokenizer.chat_template is None:
            legacy = optional_file(base, _LEGACY, revision)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no tokenizer could be loaded from {str(base)!r}: name a local folder with tokenizer files, or the id of "
            f"a model on the Hub that can be reached from here ({error})."
        ) from error
    if legacy is not None:
        tokenizer.chat_template = read_json(legacy).get("chat_template")
    return tokenizer


def read_config(base: str | PathLike[str], revision: str | None = None) -> PreTrainedConfig:
    """The configuration of a model, read by transformers without remote code.

    Raises:
        `ValueError`: If transformers cannot read it.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"the config.json of {base} cannot be read by transformers without remote code ({str(error)[:200]}): use "
            "a model of an architecture that this version of transformers supports, or update transformers"
        ) from error
