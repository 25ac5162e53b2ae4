"""Small tokenizers of the SentencePiece kind, whose decoding does not give back the prompt they encoded."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase

KINDS = ("legacy", "prepended", "plain")
"""`legacy: true` (a space before every text that follows a control token), the same by a normalizer, and neither."""

TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}",
        ["<|im_start|>", "<|im_end|>"],
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + "
        "m.content + '<|eot_id|>' }}{% endfor %}",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "mistral-v3": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}",
        ["[INST]", "[/INST]"],
    ),
    "gemma3": (
        "{{ bos_token }}{% for m in messages if m.role != 'system' %}{{ '<start_of_turn>' + "
        "('user' if m.role == 'user' else 'model') + '\\n' + m.content + '<end_of_turn>\\n' }}{% endfor %}",
        ["<start_of_turn>", "<end_of_turn>"],
    ),
}

_TEXT = """The mill stood still. Ann counts the coins and says nothing. Ann: Tea? He knows. Bob: walks home
<system_thinking> Ann stalls. </system_thinking> <role_thinking> </role_thinking> <role_action> </role_action>
"""


@lru_cache
def _trained() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-fallback BPE as Llama 2 has it."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    reserved = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained.train_from_iterator(
        [_TEXT], trainers.BpeTrainer(vocab_size=420, special_tokens=reserved, show_progress=False)
    )
    model: dict[str, Any] = json.loads(trained.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def sentencepiece_tokenizer(kind: str, frame: str = "chatml") -> PreTrainedTokenizerBase:
    """A tokenizer of one of [`KINDS`] with a template of one of [`TEMPLATES`]."""
    vocabulary, merges = _trained()
    template, control = TEMPLATES[frame]
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=kind != "plain")
    if kind == "prepended":
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([])
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        scheme = "always" if kind == "legacy" else "first"
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [AddedToken(token, special=True, normalized=False) for token in control]}
    )
    tokenizer.chat_template = template
    return tokenizer
