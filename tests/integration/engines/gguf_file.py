"""A GGUF of a few kilobytes, so that llama.cpp has a model to read a chat template from."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy

_WIDTH, _INNER, _VOCABULARY = 16, 32, 260
_END = "<|im_end|>"


def write_gguf(path: Path, template: str) -> None:
    """Writes a random Llama with one layer and a vocabulary of bytes.

    Args:
        path (`Path`): The file.
        template (`str`): The chat template that it carries.
    """
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(_WIDTH)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_VOCABULARY)
    _write_vocabulary(writer)
    writer.add_chat_template(template)
    chance = numpy.random.default_rng(0)

    def matrix(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (chance.standard_normal(shape) * 0.02).astype(numpy.float32))

    matrix("token_embd", _VOCABULARY, _WIDTH)
    matrix("output", _VOCABULARY, _WIDTH)
    for part in ("q", "k", "v", "output"):
        matrix(f"blk.0.attn_{part}", _WIDTH, _WIDTH)
    matrix("blk.0.ffn_gate", _INNER, _WIDTH)
    matrix("blk.0.ffn_up", _INNER, _WIDTH)
    matrix("blk.0.ffn_down", _WIDTH, _INNER)
    for part in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{part}.weight", numpy.ones(_WIDTH, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    """GPT-2's letters for the 256 bytes, an end-of-turn token, and a few that are not used."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in shown] + [chr(256 + number) for number in range(256 - len(shown))]
    unused = [f"<unused{number}>" for number in range(_VOCABULARY - len(letters) - 1)]
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*letters, _END, *unused])
    writer.add_token_types([kinds.NORMAL] * len(letters) + [kinds.CONTROL] + [kinds.UNUSED] * len(unused))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(len(letters))
    writer.add_add_bos_token(False)
