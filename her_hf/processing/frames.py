"""How a family of base models frames its turns, and how to detect the family of a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = ("probe of the user", "probe of the assistant")


@dataclass(frozen=True, slots=True)
class Frame:
    """The text around a turn. `templates/frame_<name>.jinja` sets the same pieces.

    Args:
        name (`str`): Name of the family, and of its template file.
        turn_start (`str`): Control token before the role.
        role_end (`str`): Text after the role.
        turn_end (`str`): The end-of-turn token.
        control_tokens (`tuple[str, ...]`): All tokens that the template writes; each must be one token.
        other_ends (`tuple[str, ...]`): Other tokens at which such models stop, if the vocabulary has them.
    """

    name: str
    turn_start: str
    role_end: str
    turn_end: str
    control_tokens: tuple[str, ...]
    other_ends: tuple[str, ...]

    def header(self, role: str) -> str:
        """The text before the content of a turn."""
        return f"{self.turn_start}{role}{self.role_end}"

    def header_pattern(self, role: str) -> str:
        """Regular expression for [`~Frame.header`] in text that was decoded from ids.

        SentencePiece tokenizers may decode a space after each control token that the prompt did not have.
        """
        tokens = "|".join(map(re.escape, sorted(self.control_tokens, key=len, reverse=True)))
        pieces = re.split(f"({tokens})", self.header(role))
        return "".join(
            f"{re.escape(piece)} ?" if piece in self.control_tokens else re.escape(piece) for piece in pieces
        )


CHATML = Frame(
    name="chatml",
    turn_start="<|im_start|>",
    role_end="\n",
    turn_end="<|im_end|>",
    control_tokens=("<|im_start|>", "<|im_end|>"),
    other_ends=("<|endoftext|>",),
)
LLAMA3 = Frame(
    name="llama3",
    turn_start="<|start_header_id|>",
    role_end="<|end_header_id|>\n\n",
    turn_end="<|eot_id|>",
    control_tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    other_ends=("<|end_of_text|>", "<|eom_id|>"),
)
FRAMES = (CHATML, LLAMA3)


def default_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template that is used by default."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Id of `token` if the tokenizer encodes it as one token."""
    ids = tokenizer.encode(token, add_special_tokens=False)
    return ids[0] if len(ids) == 1 and tokenizer.convert_ids_to_tokens(ids[0]) == token else None


def find_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[Frame, str]:
    """Detects how the tokenizer's own chat template frames turns, by rendering a probe.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): A tokenizer with the chat template of its base.

    Returns:
        `tuple[Frame, str]`: The frame, and the token that every prompt begins with (`""` if there is none).

    Raises:
        `ValueError`: If there is no chat template, if it is of neither style, or if a token that the frame needs is
            missing from the vocabulary.
    """
    where = tokenizer.name_or_path or "this tokenizer"
    template = default_template(tokenizer)
    if template is None:
        raise ValueError(
            f"{where} has no chat template. Use the instruct or chat variant of the base, or set "
            "tokenizer.chat_template to a ChatML or Llama-3 style template first."
        )
    found: list[str] = []
    failures: list[Exception] = []
    for messages in _probes():
        try:
            rendered = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        except (TemplateError, TypeError) as error:
            failures.append(error)
            continue
        found.append(rendered)
        for frame in FRAMES:
            if f"{frame.header('user')}{_PROBE[0]}{frame.turn_end}" in rendered:
                _check_tokens(tokenizer, frame, where)
                bos = tokenizer.bos_token or ""
                begins = bool(bos) and bos != frame.turn_start and rendered.startswith(bos)
                return frame, bos if begins else ""
    if not found:
        raise ValueError(f"the chat template of {where} could not render a plain conversation: {failures[0]}")
    shown = found[0] if len(found[0]) < 300 else found[0][:300] + "…"
    raise ValueError(
        f"the chat template of {where} is neither ChatML nor Llama-3 style; it renders a probe as {shown!r}. "
        "Use a base of one of these styles."
    )


def _probes() -> Iterator[list[dict[str, Any]]]:
    """A plain conversation without and with a system message, as text and as parts: some templates need either."""
    for written in (lambda text: text, lambda text: [{"type": "text", "text": text}]):
        user = {"role": "user", "content": written(_PROBE[0])}
        conversation = [user, {"role": "assistant", "content": written(_PROBE[1])}, user]
        yield conversation
        yield [{"role": "system", "content": written("probe of the system")}, *conversation]


def _check_tokens(tokenizer: PreTrainedTokenizerBase, frame: Frame, where: str) -> None:
    if token_id(tokenizer, frame.turn_end) is None:
        raise ValueError(
            f"the tokenizer of {where} has no end-of-turn token: its chat template ends turns with "
            f"{frame.turn_end!r}, which is not a token of its vocabulary. Add it with tokenizer.add_special_tokens "
            "and resize the model's embeddings, or use the instruct variant of the base."
        )
    missing = [token for token in frame.control_tokens if token_id(tokenizer, token) is None]
    if missing:
        raise ValueError(
            f"the tokenizer of {where} lacks {missing}, which its chat template writes: each must be one token of the "
            "vocabulary. Use a tokenizer that matches the template."
        )
