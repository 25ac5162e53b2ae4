"""Whether a model has an embedding for every token of its tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

_NAMED = 4


def check_embeddings(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, where: str) -> None:
    """Refuses a tokenizer that has ids for which the model has no embedding.

    Such an id aborts training or generation half-way, with an index error or, on a GPU, with an obscure CUDA error.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The tokenizer.
        config (`PreTrainedConfig`): The model's configuration; its `vocab_size` is used.
        where (`str`): Names the model in the error.

    Raises:
        `ValueError`: If there is such an id; the message names the tokens and both numbers.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(rows, int):
        return  # not a model that reads token ids; loading it will raise the error
    beyond = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= rows)
    if not beyond:
        return
    named = ", ".join(f"{token[:40]!r} has id {number}" for number, token in beyond[:_NAMED])
    more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
    raise ValueError(
        f"{where}: the model has embeddings for {rows} tokens (vocab_size), ids 0 to {rows - 1}, but {named}{more}"
        f" in the tokenizer. Use the tokenizer that belongs to this model, or load both, call "
        f"model.resize_token_embeddings({beyond[-1][0] + 1}) and save them again."
    )
