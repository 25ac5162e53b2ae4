"""What a checkpoint defines for its replies: how to parse them and how to sample them."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from her_hf.dual_layer import TAGS, Layer
from her_hf.dual_layer.text import MAX_TAG_INNER

from .frames import Frame, token_id

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 1024}
"""Generation defaults. Source: the chat demo of the HER repository (cydu24/HER)."""

_GENERATION_CONFIG = "generation_config.json"
_KELVIN = "\u212a"
_SPACE = r"[\s\x1c-\x1f]"  # what `str.strip` removes: `regex` does not count the last four as white space


def response_template(frame: Frame) -> dict[str, Any]:
    """The declarative parser that plain transformers and vLLM (`--reasoning-parser hf`) read from a checkpoint.

    System thinking becomes `thinking`, the rest `content`: role thinking and actions stay inline, which keeps their
    order. It opens and closes at the same tags as in [`parse_turn`]: aliases, any case, inner spaces. The opening is
    anchored, so that a later block stays text; the close also matches the end of the turn, so that an unclosed block
    does not consume it. Every token at which such models stop ends the reply and is not part of its text.

    A pattern cannot count: if thinking contains a nested system block, it ends at the first closing tag, and a closing
    tag of another layer without an opening ends nothing. `parse_turn` reports an issue in both cases. A tag that
    repeats the prefilled one stays in `thinking`.

    Args:
        frame (`Frame`): How the base frames turns.

    Returns:
        `dict`: For `tokenizer.response_template`. Its patterns mean the same to `re` and to `regex`, and take time
        that is linear in the text.
    """
    ends = [frame.turn_end, *frame.other_ends]
    end = "|".join(map(re.escape, ends))
    opened, closed = _system_tag(), _system_tag(closing=True)
    return {
        "version": 1,
        "defaults": {"role": "assistant"},
        "start_anchor_pattern": frame.reply_pattern,
        "fields": {
            "thinking": {
                "open_pattern": rf"\A{_SPACE}*{opened}{_SPACE}*",
                # A run of white space is tried from its first character only: otherwise the time would be quadratic.
                "close_pattern": rf"(?:(?<!{_SPACE}){_SPACE}+)?(?:{closed}{_SPACE}*|(?={end}))",
                "content": "text",
            },
            "content": {"close": ends, "content": "text"},
        },
    }


def _system_tag(closing: bool = False) -> str:
    """Pattern of what the parser reads as a system thinking tag."""
    names = sorted((tag for tag, layer in TAGS.items() if layer is Layer.SYSTEM_THINKING), key=len, reverse=True)
    inner = f"{_SPACE}*(?:{'|'.join(map(_any_case, names))}){_SPACE}*>"
    return rf"<(?=[^<>]{{1,{MAX_TAG_INNER}}}>){f'{_SPACE}*/' if closing else ''}{inner}"


def _any_case(name: str) -> str:
    """A pattern for `name` in any case as `read_tag` reads it: `(?i:…)` would match other letters too, such as ſ."""
    # Apart from the capitals, only the Kelvin sign has an ASCII letter as its lower case.
    return "".join(f"[{c}{c.upper()}{_KELVIN if c == 'k' else ''}]" if c.isalpha() else c for c in name)


def generation_config(
    tokenizer: PreTrainedTokenizerBase, frame: Frame, base: GenerationConfig | None = None
) -> GenerationConfig:
    """Generation defaults of a HER checkpoint.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): The attached tokenizer.
        frame (`Frame`): Its frame.
        base (`GenerationConfig`, *optional*): That of the base: its stop tokens and padding are kept, its sampling is
            replaced.

    Returns:
        `GenerationConfig`: With [`SAMPLING`] and every token that ends a reply.
    """
    from transformers import GenerationConfig

    stops = [token_id(tokenizer, token) for token in (frame.turn_end, *frame.other_ends)]
    of_base = base.eos_token_id if base is not None else None
    stops += of_base if isinstance(of_base, list) else [of_base]
    pad = base.pad_token_id if base is not None and base.pad_token_id is not None else tokenizer.pad_token_id
    return GenerationConfig(
        **SAMPLING,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(dict.fromkeys(stop for stop in stops if stop is not None)),
        pad_token_id=pad,
    )


def write_generation_config(folder: str | PathLike[str], config: GenerationConfig) -> None:
    """Writes the defaults into `folder`, or adds missing fields to an existing file.

    A trainer saves the model, and with it a generation config, before or after the processor. The values of that file
    take precedence, except for the stop tokens: a reply must be able to end.
    """
    path = Path(folder) / _GENERATION_CONFIG
    if not path.is_file():
        config.save_pretrained(folder)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    wanted = {key: value for key, value in config.to_diff_dict().items() if key != "transformers_version"}
    stops = found.get("eos_token_id")
    stops = stops if isinstance(stops, list) else [] if stops is None else [stops]
    merged = {**wanted, **found, "eos_token_id": list(dict.fromkeys([*wanted["eos_token_id"], *stops]))}
    merged.pop("_from_model_config", None)  # otherwise the next save derives the file from the model's config again
    path.write_text(json.dumps(merged, indent=2, sort_keys=True) + "\n", encoding="utf-8")
