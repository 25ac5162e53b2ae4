"""Which layer each trained token belongs to, so that the held-out loss can be reported by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from her_hf.dual_layer import parse_turn
from her_hf.processing.trunk import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LAYERS = ("system_thinking", "role_thinking", "role_action", "speech", "structure")
"""Names of the layers in the order of their numbers; `structure` is tags, label and end of turn."""

_SYSTEM, _ROLE, _ACTION, _SPEECH, _STRUCTURE = range(len(LAYERS))
_SYSTEM_CLOSE = "</system_thinking>"
# The chat template writes own turns in canonical form and breaks up every other tag, so these are all there are.
_TAGS = {"role_thinking": _ROLE, "role_action": _ACTION}
_BLOCK = re.compile(r"\s*<(?P<tag>role_thinking|role_action)>(?P<text>.*?)</(?P=tag)>\s*", re.DOTALL)


def label_layers(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The layer of each trained token of a row.

    Args:
        row (`Mapping`): A row of [`~her_hf.processing.rows.build`].
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer it was built with.

    Returns:
        `list[int]`: One entry a token: an index into [`LAYERS`], or -100 where the token is not trained. A token that
            spans two layers counts for the one in which its first visible character lies.
    """
    layers = [IGNORED] * len(row["input_ids"])
    for start, end, _ in row["branches"]:
        at = [index for index in range(start, end) if row["labels"][index] != IGNORED]
        ids = [row["input_ids"][index] for index in at]
        ends = _token_ends(ids, tokenizer)
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        special = set(tokenizer.all_special_ids)
        marks = character_layers(text)
        begin = 0
        for index, token, stop in zip(at, ids, ends, strict=True):
            piece = text[begin:stop]
            # A piece may be empty: the token is the beginning of the character that a later one completes.
            first = begin + len(piece) - len(piece.lstrip()) if piece.strip() else begin
            layers[index] = _STRUCTURE if token in special else marks[min(first, len(marks) - 1)]
            begin = stop
    return layers


def character_layers(text: str) -> list[int]:
    """The layer of each character of a reply as it is trained, that is, after the prefilled tag.

    Example:

    ```python
    >>> [LAYERS[layer] for layer in character_layers("Ann: Hi")][-2:]
    ['speech', 'speech']
    ```
    """
    close = text.find(_SYSTEM_CLOSE)
    body = close + len(_SYSTEM_CLOSE) if close >= 0 else 0
    marks = [_SYSTEM] * max(close, 0) + [_STRUCTURE] * (body - max(close, 0)) + [_SPEECH] * (len(text) - body)
    name = parse_turn(text, prefilled=close >= 0).name
    start = body + len(text[body:]) - len(text[body:].lstrip())
    if name is not None and text.startswith(name, start):
        after = text[start + len(name) :].lstrip()[1:].lstrip()  # after the colon
        start = len(text) - len(after)
    marks[body:start] = [_STRUCTURE] * (start - body)
    for match in _BLOCK.finditer(text, body):
        marks[match.start() : match.end()] = [_STRUCTURE] * (match.end() - match.start())
        marks[match.start("text") : match.end("text")] = [_TAGS[match["tag"]]] * len(match["text"])
    return marks


def _token_ends(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Where each token ends in the decoded text.

    Tokens are decoded one by one. A character split over several tokens decodes to a replacement character until it is
    complete.
    If the pieces do not add up (tokenizers that strip a leading space), prefixes are decoded instead, which is slow
    but exact.
    """
    whole = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    ends: list[int] = []
    pending: list[int] = []
    length = 0
    for token in ids:
        pending.append(token)
        piece = tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if not piece.endswith("\ufffd"):
            length += len(piece)
            pending = []
        ends.append(length)
    if length == len(whole):
        return ends
    return [
        len(tokenizer.decode(list(ids[:stop]), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        for stop in range(1, len(ids) + 1)
    ]
