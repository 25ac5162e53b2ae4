"""Writes Mistral's real tokenizers, as mistral-common ships them, as folders of transformers.

Runs with mistral-common on the path. Arguments: the folder to write to, and a file of plain conversations. Beside each
folder's tokenizer lies `reference.json`: what mistral-common itself makes of each conversation.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import mistral_common
from mistral_common.integrations.chat_templates.chat_templates import convert_tokenizer_to_chat_template
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, TokenizersBackend

DATA = Path(mistral_common.__file__).parent / "data"
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def main() -> None:
    """Writes tokenizers and references."""
    out, conversations = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    v7 = out / "tekken_v7.json"
    v7.write_text(json.dumps(as_v7(json.loads((DATA / "tekken_240911.json").read_text(encoding="utf-8")))))
    for name, source in {
        "mistral-v3": DATA / "mistral_instruct_tokenizer_240323.model.v3",
        "mistral-v3-tekken": DATA / "tekken_240718.json",
        "mistral-v7-tekken": v7,
    }.items():
        folder = out / name
        folder.mkdir()
        tokenizer = converted(source, folder)
        tokenizer.chat_template = convert_tokenizer_to_chat_template(source)
        tokenizer.save_pretrained(folder)
        own = MistralTokenizer.from_file(str(source))
        ids = [
            own.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens for messages in conversations
        ]
        (folder / "reference.json").write_text(json.dumps(ids), encoding="utf-8")


def converted(source: Path, folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer as transformers reads it; it knows a file's kind by its name."""
    kind, own = ("tekken.json", TokenizersBackend) if source.suffix == ".json" else ("tokenizer.model", LlamaTokenizer)
    copy = folder / kind
    shutil.copyfile(source, copy)
    tokenizer = own.from_pretrained(folder, **NAMES)
    copy.unlink()
    return tokenizer


def as_v7(whole: dict[str, Any]) -> dict[str, Any]:
    """A file of v7 Tekken, which mistral-common does not carry, made of one of v3.

    mistral-common gives both versions the same control tokens, so that only the version differs here. The pieces of
    text in released files may be others.
    """
    return {**whole, "config": {**whole["config"], "version": "v7"}}


if __name__ == "__main__":
    main()
