"""Changes chat templates that require, refuse or drop a system message to accept conversations with and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from .frames import default_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER = "probe of the system", "probe of the user"
_ADDED = (
    "{%- if not messages or messages[0]['role'] != 'system' -%}"
    "{%- set messages = [{'role': 'system', 'content': ''}] + messages -%}"
    "{%- endif -%}\n"
)
_FOLDED = (
    "{%- if messages|length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' -%}"
    "{%- set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] -%}"
    "{%- endif -%}\n"
)


def take_any_roles(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Makes the tokenizer's own chat template accept conversations with and without a system message.

    A template that requires a system message gets an empty one; for one that refuses it or drops its text, the text is
    put before the first user message. The change is at the top of the template, so it is saved with the tokenizer.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): Its default chat template is changed if necessary.

    Returns:
        `str`, *optional*: A note for the user about the change; `None` if nothing was changed.

    Raises:
        `ValueError`: If the template renders neither kind.
    """
    template = default_template(tokenizer)
    if template is None:
        return None
    user = {"role": "user", "content": _USER}
    alone, alone_error = _rendered(tokenizer, template, [user])
    led, led_error = _rendered(tokenizer, template, [{"role": "system", "content": _SYSTEM}, user])
    where = tokenizer.name_or_path or "this tokenizer"
    if _USER not in alone and _USER not in led:
        raise ValueError(
            f"the chat template of {where} renders no plain conversation ({led_error or alone_error or 'it is empty'})"
        )
    if _USER in alone and _SYSTEM in led:
        return None
    added = _USER not in alone
    changed = (_ADDED if added else _FOLDED) + template
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = {**tokenizer.chat_template, "default": changed}
    else:
        tokenizer.chat_template = changed
    if added:
        return f"the chat template of {where} requires a system message: an empty one is added where there is none"
    return f"the chat template of {where} accepts no system message: its text is put before the first user message"


def _rendered(
    tokenizer: PreTrainedTokenizerBase, template: str, messages: list[dict[str, str]]
) -> tuple[str, TemplateError | None]:
    try:
        return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)), None
    except TemplateError as error:
        return "", error
