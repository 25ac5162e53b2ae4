"""Whether a model knows every token that its tokenizer may give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_NAMED = 4


def check_embeddings(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, where: str) -> None:
    """Refuses a tokenizer that has ids for which the model has no embedding.

    Such an id ends training or generation in the middle, with an index error or, on a GPU, with less than that.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer.
        config (`PreTrainedConfig`): The model's configuration, of which `vocab_size` counts.
        where (`str`): Names the model in the error.

    Raises:
        `ValueError`: If there is such an id; the message names the tokens and both numbers.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(rows, int):
        return  # not a model that reads token ids, which loading it will say
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if not beyond:
        return
    named = ", ".join(f"{token[:40]!r} has id {number}" for number, token in beyond[:_NAMED])
    more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
    raise ValueError(
        f"{where}: the embeddings of the model hold {rows} tokens (vocab_size), ids 0 to {rows - 1}, but {named}{more}"
        f" in the tokenizer. Take the tokenizer that belongs to this model, or load both, call "
        f"model.resize_token_embeddings({beyond[-1][0] + 1}) and save them again."
    )
