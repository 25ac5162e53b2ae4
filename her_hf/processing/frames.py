"""How a family of base models frames its turns, and how to detect the family of a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from her_hf.dual_layer.text import read_tag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROBE = ("probe of the user", "probe of the assistant")
_NUMBERED = re.compile(r"(\D{4,})\d")


@dataclass(frozen=True, slots=True)
class Frame:
    """The text around a turn. `templates/frame_<name>.jinja` says how the template differs from such a base's own.

    Args:
        name (`str`): Name of the family, and of its template file.
        user_start, user_end (`str`): Text around a user's turn.
        reply_start (`str`): Text before a reply; `""` where the end of the turn before it opens it.
        turn_end (`str`): The end-of-turn token: it ends a reply, and is trained.
        control_tokens (`tuple[str, ...]`): All control tokens that the template writes; each must be one token.
        system_start, system_end (`str`, *optional*, defaults to `""`): Text around a system message. Without it system
            text belongs to the user's turn, as if a user had said it.
        turn_gap (`str`, *optional*, defaults to `""`): Text behind each turn, which nothing is trained on.
        reply_lead (`str`, *optional*, defaults to `""`): What a reply begins with, and the model generates if no
            system thinking is opened.
        begin (`str`, *optional*, defaults to `""`): What each prompt begins with, where that is not the tokenizer's
            `bos_token`.
        other_ends (`tuple[str, ...]`, *optional*): Other tokens at which such models stop, if the vocabulary has them.
    """

    name: str
    user_start: str
    user_end: str
    reply_start: str
    turn_end: str
    control_tokens: tuple[str, ...]
    system_start: str = ""
    system_end: str = ""
    turn_gap: str = ""
    reply_lead: str = ""
    begin: str = ""
    other_ends: tuple[str, ...] = ()

    @property
    def reply_pattern(self) -> str:
        """Regular expression for what is directly before a reply, in a prompt that may be decoded from ids.

        SentencePiece tokenizers may decode a space after each control token that the prompt did not have.
        """
        tokens = "|".join(map(re.escape, sorted(self.control_tokens, key=len, reverse=True)))
        if not self.reply_start:  # whatever ends a turn or begins the prompt
            starts = self.user_start + self.system_start
            return f"(?:{'|'.join(re.escape(token) for token in self.control_tokens if token not in starts)}) ?"
        pieces = re.split(f"({tokens})", self.reply_start)
        return "".join(
            f"{re.escape(piece)} ?" if piece in self.control_tokens else re.escape(piece) for piece in pieces
        )

    def opened_by(self, prompt: str) -> int | None:
        """Where in `prompt` its open reply begins; `None` if it does not end in one."""
        ends = [match.end() for match in re.finditer(self.reply_pattern, prompt)]
        # Behind what opens the reply there is no other control token.
        return ends[-1] if ends and ends[-1] > max(prompt.rfind(token) for token in self.control_tokens) else None

    def is_shown_by(self, rendered: str) -> bool:
        """Whether a template that rendered the probe frames the user's turns like this."""
        behind = self.user_end or self.reply_start.rstrip()
        return f"{self.user_start}{_PROBE[0]}{behind}" in rendered


CHATML = Frame(
    name="chatml",
    system_start="<|im_start|>system\n",
    system_end="<|im_end|>",
    user_start="<|im_start|>user\n",
    user_end="<|im_end|>",
    reply_start="<|im_start|>assistant\n",
    turn_end="<|im_end|>",
    turn_gap="\n",
    control_tokens=("<|im_start|>", "<|im_end|>"),
    other_ends=("<|endoftext|>",),
)
LLAMA3 = Frame(
    name="llama3",
    system_start="<|start_header_id|>system<|end_header_id|>\n\n",
    system_end="<|eot_id|>",
    user_start="<|start_header_id|>user<|end_header_id|>\n\n",
    user_end="<|eot_id|>",
    reply_start="<|start_header_id|>assistant<|end_header_id|>\n\n",
    turn_end="<|eot_id|>",
    control_tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    other_ends=("<|end_of_text|>", "<|eom_id|>"),
)
MISTRAL_V3 = Frame(
    name="mistral-v3",
    user_start="[INST] ",
    user_end="[/INST]",
    reply_start="",
    reply_lead=" ",
    turn_end="</s>",
    control_tokens=("<s>", "[INST]", "[/INST]", "</s>"),
)
MISTRAL_V3_TEKKEN = replace(MISTRAL_V3, name="mistral-v3-tekken", user_start="[INST]", reply_lead="")
MISTRAL_V7_TEKKEN = replace(
    MISTRAL_V3_TEKKEN,
    name="mistral-v7-tekken",
    system_start="[SYSTEM_PROMPT]",
    system_end="[/SYSTEM_PROMPT]",
    control_tokens=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "</s>"),
)
GEMMA3 = Frame(
    name="gemma3",
    user_start="<start_of_turn>user\n",
    user_end="<end_of_turn>",
    reply_start="<start_of_turn>model\n",
    turn_end="<end_of_turn>",
    turn_gap="\n",
    control_tokens=("<start_of_turn>", "<end_of_turn>"),
    other_ends=("<eos>",),
)
GEMMA4 = Frame(
    name="gemma4",
    system_start="<|turn>system\n",
    system_end="<turn|>",
    user_start="<|turn>user\n",
    user_end="<turn|>",
    reply_start="<|turn>model\n",
    turn_end="<turn|>",
    turn_gap="\n",
    control_tokens=("<|turn>", "<turn|>"),
    other_ends=("<eos>", "<|tool_response>"),
)
GLM4 = Frame(
    name="glm4",
    begin="[gMASK]<sop>",
    system_start="<|system|>\n",
    user_start="<|user|>\n",
    user_end="",
    reply_start="<|assistant|>\n",
    turn_end="<|user|>",
    control_tokens=("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
    other_ends=("<|endoftext|>", "<|observation|>"),
)
FRAMES = (CHATML, LLAMA3, MISTRAL_V3, MISTRAL_V7_TEKKEN, MISTRAL_V3_TEKKEN, GEMMA3, GEMMA4, GLM4)
STYLES = "ChatML, Llama-3, Mistral (v3, v3-Tekken, v7-Tekken), Gemma 2 to 4, GLM-4"
"""The families, as messages name them."""


def default_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template that is used by default."""
    template = tokenizer.chat_template
    return template.get("default") if isinstance(template, dict) else template


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Id of `token` if the tokenizer encodes it as one token."""
    ids = tokenizer.encode(token, add_special_tokens=False)
    return ids[0] if len(ids) == 1 and tokenizer.convert_ids_to_tokens(ids[0]) == token else None


def typed_tokens(tokenizer: PreTrainedTokenizerBase, frame: Frame) -> list[str]:
    """What a typed control token of this vocabulary begins with, where it has no `<|`, which is broken up anyway.

    Of tokens that are numbered (`[control_8]`, `<SPECIAL_20>`) it is the text before the number. Layer tags are left
    out: templates break those of a user, and write those of a character.
    """
    added = tokenizer.added_tokens_decoder.values()
    special = {*frame.control_tokens, *tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    found = set()
    for token in special:
        is_tag = token[:1] == "<" and token[-1:] == ">" and read_tag(token[1:-1]) is not None
        if len(token) > 1 and "<|" not in token and not is_tag and re.search(r"[^\w\s]", token):
            numbered = _NUMBERED.match(token)
            found.add(numbered[1] if numbered else token)
    return sorted(found)


def find_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[Frame, str]:
    """Detects how the tokenizer's own chat template frames turns, by rendering a probe.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): A tokenizer with the chat template of its base.

    Returns:
        `tuple[Frame, str]`: The frame, and what every prompt begins with (`""` if there is nothing).

    Raises:
        `ValueError`: If there is no chat template, if it is of another style, or if a token that the frame needs is
            missing from the vocabulary.
    """
    where = tokenizer.name_or_path or "this tokenizer"
    template = default_template(tokenizer)
    if template is None:
        raise ValueError(
            f"{where} has no chat template. Use the instruct or chat variant of the base, or set "
            f"tokenizer.chat_template to a template of one of these styles first: {STYLES}."
        )
    found = _rendered_probes(tokenizer, template, where)
    frames = [frame for frame in FRAMES if any(map(frame.is_shown_by, found))]
    if not frames:
        shown = found[0] if len(found[0]) < 300 else found[0][:300] + "…"
        raise ValueError(
            f"the chat template of {where} is of another style than {STYLES}; it renders a probe as {shown!r}. Use a "
            "base of one of these styles."
        )
    frame = _with_its_system(frames, found)
    _check_tokens(tokenizer, frame, where)
    begin = frame.begin or tokenizer.bos_token or ""
    rendered = next(text for text in found if frame.is_shown_by(text))
    return frame, begin if rendered.startswith(begin) and not frame.user_start.startswith(begin) else ""


def _with_its_system(frames: Sequence[Frame], rendered: Sequence[str]) -> Frame:
    """Of frames with the same user's turn the one that treats system messages as the template does."""
    for frame in frames:
        if frame.system_start and any(frame.system_start in text for text in rendered):
            return frame
    return next((frame for frame in frames if not frame.system_start), frames[0])


def _rendered_probes(tokenizer: PreTrainedTokenizerBase, template: str, where: str) -> list[str]:
    """What the template makes of each plain conversation that it does not refuse; at least one."""
    found: list[str] = []
    failures: list[Exception] = []
    for messages in _probes():
        try:
            found.append(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False))
        except (TemplateError, TypeError) as error:
            failures.append(error)
    if not found:
        raise ValueError(f"the chat template of {where} could not render a plain conversation: {failures[0]}")
    return found


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
