"""Fits a conversation into a window of tokens by dropping its oldest turns as a whole, and counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from her_hf.scenes.trimming import Message, drop_oldest, droppable_turns, part_turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class WindowError(ValueError):
    """Not even the newest exchange fits into the window: nothing more can be dropped whole."""


def token_ids(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **template_kwargs: Any) -> list[int]:
    """The tokens that the chat template makes of `messages`."""
    rendered = tokenizer.apply_chat_template(list(messages), tokenize=True, return_dict=True, **template_kwargs)
    return list(rendered["input_ids"])


def count_tokens(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, **template_kwargs: Any) -> int:
    """Number of tokens of `messages` rendered by the chat template."""
    return len(token_ids(messages, tokenizer, **template_kwargs))


def fit_window(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    *,
    names: Sequence[str] = (),
    **template_kwargs: Any,
) -> tuple[list[dict[str, Any]], int]:
    """Drops as few of the oldest turns as necessary to make `messages` fit into `limit` tokens.

    Args:
        messages (`Sequence[Mapping]`): The conversation. A message is a turn, or a merged run of others' turns.
        tokenizer (`PreTrainedTokenizerBase`): Its chat template renders the tokens.
        limit (`int`): Maximum tokens of the rendered messages, all special tokens included.
        names (`Sequence[str]`, *optional*): The speakers. If given, merged turns are dropped individually; otherwise a
            message counts as one turn.
        **template_kwargs: Passed to `apply_chat_template`, e.g. `add_generation_prompt=True`.

    Returns:
        `tuple[list[dict], int]`: The messages that remain, and how many turns were dropped. The system message and the
            last turn of others with all that follows it always remain.

    Raises:
        [`WindowError`]: If what must remain is longer than the window.

    Example (not run: it needs a model):

    ```python
    >>> history, dropped = fit_window(messages, tokenizer, 4096 - 1024, add_generation_prompt=True)
    ```
    """
    if count_tokens(messages, tokenizer, **template_kwargs) <= limit:
        return [dict(message) for message in messages], 0
    if names:
        messages = part_turns(messages, names)

    def fits(turns: int) -> bool:
        return count_tokens(drop_oldest(messages, turns), tokenizer, **template_kwargs) <= limit

    low, high = 0, droppable_turns(messages)  # `low` does not fit; fewer turns are never longer, so bisect
    if high == 0 or not fits(high):
        shortest = count_tokens(drop_oldest(messages, high), tokenizer, **template_kwargs)
        raise WindowError(
            f"the newest exchange and the system message take {shortest} tokens, but the window holds {limit}. "
            "Make the window larger, or the scene prompt or the turn shorter."
        )
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return drop_oldest(messages, high), high
