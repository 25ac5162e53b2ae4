"""Chat data: conversations as message lists, without scenes behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from her_hf.dual_layer import parse_turn

from ..errors import SceneError
from ..fields import Row, language_code, needed_items, shown, text

ROLES = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
}
"""Names of roles in chat data, and the canonical ones."""

CHAT_SHAPES = "`messages` (role, content) or `conversations` (from, value)"
"""The forms of chat data, for errors."""

_LISTS = ("messages", "conversations")
_PROMPTS = ("system", "system_prompt", "system_message")
"""Fields of a row with the system prompt."""
_SPEAKERS = ("name", "character", "speaker")
"""Fields of a message with the speaker's name, the canonical one first."""
_THINKING = ("reasoning_content", "reasoning", "thinking")
"""Fields of a message with system thinking, the canonical one first."""
_HER_THINKING = ("sys_thinking_revised", "sys_thinking_original", "sys_thinking")
"""HER's names of these fields, best first: the others are earlier versions."""
_TEXT_PARTS = ("text", "input_text", "output_text")
_LOST = (
    "tools", "functions", "tool_calls", "tool_call_id", "function_call", "function_calls", "image", "images",
    "image_url", "audio", "audios", "video", "videos", "refusal", "chosen", "rejected",
)  # fmt: skip
"""Fields of rows, messages and parts that a text conversation cannot represent."""
_SWITCHES = ("train", "weight", "loss", "loss_weight", "trainable")
"""Fields of a row or an assistant message that may exclude it from training."""
_OFF = ("0", "0.0", "false", "no", "off")
_MASKS = ("mask", "masks", "loss_mask")
_INSTRUCTIONS = ("instruction", "instructions", "persona", "prompt")
"""Fields of a row with instructions; often a message contains the same text."""
_OTHER_THINKING = ("think", "thought", "thoughts")
_DETAILS = ("reasoning_details", "thinking_blocks")
"""System thinking a second time, next to its text, as some services return it."""


@dataclass(frozen=True, slots=True)
class ChatSample:
    """One conversation of chat data.

    Args:
        messages (`list[dict[str, str]]`): Each with `role` (system, user, assistant), `content` and, if the data has
            them, `name` and `reasoning_content`.
        language (`str`, *optional*): Language code of the row; empty if it has none.
        unused (`tuple[str, ...]`, *optional*): Unused fields of the row and its messages, e.g. `"source"` or
            `"messages[].origin_id"`.
    """

    messages: list[dict[str, str]]
    language: str = ""
    unused: tuple[str, ...] = field(default=(), compare=False)


def is_conversation(row: Row) -> bool:
    """Whether a row is a chat sample."""
    return any(key in row for key in _LISTS)


def read_conversation(row: Row) -> ChatSample:
    """Reads one chat sample.

    Its system prompt, as a message or as a column (`system`, `system_prompt`, `system_message`), is kept unchanged,
    and so is system thinking: a separate `reasoning_content`, or a block at the start of the content. A reply with
    system thinking is trained after a prompt that opens it, a reply without after a prompt that does not.

    Args:
        row (`dict`): `{"messages": [{"role", "content"}]}` or `{"conversations": [{"from", "value"}]}`, the list as
            such or as JSON text; optionally with `system` and `language`. A message may have `name` (also called
            `character` or `speaker`) and `reasoning_content` (also called `reasoning`, `thinking`, or as HER's data
            calls it). Content may be a list of text parts, which become lines.

    Returns:
        [`ChatSample`]: The conversation.

    Raises:
        `SceneError`: If a field is missing or wrong, a role is unknown, or the row contains something that a text
            conversation cannot represent: tools, images, audio, instructions or thinking in separate fields, messages
            excluded from training.

    Source: CoSER (ICML 2025), its SFT sample; HER-Dataset, configs `sft_multi_turn` and `sft_single_turn`.
    """
    key = _key(row)
    unused = dict.fromkeys(name for name in _filled(row) if name not in (key, *_PROMPTS, "language"))
    _refuse_lost(row, "")
    _refuse_untrained(row, "")
    _refuse(row, _MASKS, "says which replies are trained, but every reply of a conversation is; drop the field")
    messages = []
    for index, entry in enumerate(needed_items(row, key)):
        message, more = _message(entry, f"{key}[{index}].")
        messages.append(message)
        unused.update(dict.fromkeys(f"{key}[].{name}" for name in more))
    if prompt := _one(row, _PROMPTS, ""):
        given = [message["content"] for message in messages if message["role"] == "system"]
        if not given:
            messages.insert(0, {"role": "system", "content": prompt[1]})
        elif [content.strip() for content in given] != [prompt[1].strip()]:
            raise SceneError(f"is not what the system message says, {shown(given[0])}; keep one.", field=prompt[0])
    said = {message["content"].strip() for message in messages}
    apart = [name for name in _INSTRUCTIONS if not (isinstance(row.get(name), str) and row[name].strip() in said)]
    _refuse(row, apart, "is in no message; put it into the system message, or drop the field")
    return ChatSample(messages, language_code(text(row, "language")), tuple(unused))


def _key(row: Row) -> str:
    """The field with the row's messages; a table of several sources has empty columns."""
    keys = [key for key in _LISTS if row.get(key) is not None] or [key for key in _LISTS if key in row]
    if len(keys) > 1 and row[keys[0]] != row[keys[1]]:
        raise SceneError(f"is given as well as {keys[0]!r}, but they differ; keep one.", field=keys[1])
    return keys[0]


def _message(entry: Row, path: str) -> tuple[dict[str, str], list[str]]:
    """A message, and the names of its unused fields."""
    who, what = ("role", "content") if entry.get("from") is None and "role" in entry else ("from", "value")
    _refuse_two(entry, path)
    given = entry.get(who)
    if not isinstance(given, str) or given.lower() not in ROLES:
        raise SceneError(
            f"must be one of {sorted(ROLES)}, got {shown(given)}; write the output of a tool or another speaker as a "
            "user message.",
            field=path + who,
        )
    role = ROLES[given.lower()]
    _refuse_lost(entry, path)
    if role == "assistant":
        _refuse_untrained(entry, path)
    thinking = _thinking(entry, path)
    value = entry.get(what)
    content, more = _content("" if value is None and thinking else value, path + what)
    message = {"role": role, "content": content}
    if name := _one(entry, _SPEAKERS, path):
        message["name"] = name[1].strip()
    if thinking:
        if role != "assistant":
            raise SceneError(
                f"is system thinking of a {role} message; only replies have it.", field=path + thinking[0]
            )
        inline = parse_turn(content).system_thinking if "<" in content else None
        if inline is not None and inline.strip() != thinking[1].strip():
            raise SceneError(f"differs from the system thinking in {what!r}; keep one.", field=path + thinking[0])
        message["reasoning_content"] = thinking[1]
    used = ("role", "from", "content", "value", *_SPEAKERS, *_THINKING, *_HER_THINKING)
    return message, [name for name in _filled(entry) if name not in used] + more


def _content(value: Any, path: str) -> tuple[str, list[str]]:
    """Text, or text parts joined as lines like in the chat template; and the unused fields of parts."""
    if isinstance(value, str):
        return value, []
    if not isinstance(value, list | tuple):
        raise SceneError(f"must be text or a list of text parts, got {shown(value)}.", field=path)
    lines, unused = [], dict[str, None]()
    for index, part in enumerate(value):
        if isinstance(part, str):
            lines.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
            raise SceneError(
                f"must be a part with text; only text is trained, got {shown(part)}.", field=f"{path}[{index}]"
            )
        _refuse_lost(part, f"{path}[{index}].")
        lines.append(part["text"])
        unused.update(dict.fromkeys(f"content[].{name}" for name in _filled(part) if name not in ("type", "text")))
    return "\n".join(lines), list(unused)


def _thinking(entry: Row, path: str) -> tuple[str, str] | None:
    """The field with the system thinking of a message, and its text."""
    best = ((name, said) for name in _HER_THINKING if (said := text(entry, name, path)).strip())
    found = _one(entry, _THINKING, path) or next(best, None)
    apart = _OTHER_THINKING if found else (*_OTHER_THINKING, *_DETAILS)
    why = (
        "is thinking in a field that is not read; call system thinking reasoning_content, and put role thinking into "
        "the content"
    )
    _refuse(entry, apart, why, path)
    return found


def _one(row: Row, names: Sequence[str], path: str) -> tuple[str, str] | None:
    """The first field of several with the same meaning, and its text."""
    found = {name: said for name in names if (said := text(row, name, path)).strip()}
    if len({said.strip() for said in found.values()}) > 1:
        raise SceneError(f"differs from {next(iter(found))!r}; keep one.", field=path + list(found)[-1])
    return next(iter(found.items()), None)


def _refuse_two(entry: Row, path: str) -> None:
    """Refuses a message whose fields of both forms differ."""
    for ours, other in (("role", "from"), ("content", "value")):
        first, second = (
            ROLES.get(given.lower(), given) if ours == "role" and isinstance(given, str) else given
            for given in (entry.get(ours), entry.get(other))
        )
        if first is not None and second is not None and first != second:
            raise SceneError(f"differs from {ours!r}; keep one.", field=path + other)


def _refuse(row: Row, names: Iterable[str], why: str, path: str = "") -> None:
    for name in names:
        if _says(row.get(name)):
            raise SceneError(f"{why}, got {shown(row[name])}.", field=path + name)


def _refuse_lost(row: Row, path: str) -> None:
    for key in _LOST:
        if _says(row.get(key)):
            raise SceneError(
                f"cannot be kept, since a conversation is text only: got {shown(row[key])}; leave such rows out, or "
                "drop the field if the conversation is complete without it.",
                field=path + key,
            )


def _refuse_untrained(entry: Row, path: str) -> None:
    for key in _SWITCHES:
        value = entry.get(key)
        if _says(value) and (not value or str(value).strip().lower() in _OFF):
            what, remedy = ("reply", "end the conversation before it") if path else ("row", "leave it out")
            raise SceneError(
                f"says that this {what} is not trained, got {shown(value)}, but every reply of a conversation is; "
                f"{remedy}, or drop the field.",
                field=path + key,
            )


def _filled(row: Row) -> list[str]:
    """Names of the fields with a value: tables have null for missing fields."""
    return [str(key) for key, value in row.items() if _says(value)]


def _says(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_says, value.values()))
    return value is not None and value != "" and value != []
