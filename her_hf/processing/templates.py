"""Assembles the chat template of a checkpoint from the parts in `templates/`. The result needs no other file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from her_hf.scenes.prompt import LANGUAGES, scene_prompt_source
from her_hf.template_files import template_source

from .frames import Frame

_BARE_PREFILL = "{%- set bare_prefill = false -%}"
_TYPED = "{%- set typed_tokens = [] -%}"
_PIECES = (
    "system_start", "system_end", "user_start", "user_end", "reply_start", "reply_lead", "turn_end", "turn_gap",
)  # fmt: skip
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_MARK = re.compile(r"\{#- ((?:end)?generation) -#\}")
SCENE = "scene"
"""Name of the named template that holds the scene prompt."""


def chat_template(
    frame: Frame, *, begin: str = "", typed_tokens: Sequence[str] = (), bare_prefill: bool = False
) -> str:
    """Source of the HER chat template, as a checkpoint carries it: every engine that serves models can render it.

    It does not mark what a model is trained on, since some engines refuse the statement; see [`training_template`].

    Args:
        frame (`Frame`): How the base frames turns.
        begin (`str`, *optional*, defaults to `""`): What every prompt begins with.
        typed_tokens (`Sequence[str]`, *optional*): Control tokens, or what they begin with, that are broken up where
            they are typed, besides those with `<|`. See [`~her_hf.processing.frames.typed_tokens`].
        bare_prefill (`bool`, *optional*, defaults to `False`): Whether a reply opens with `<system_thinking>` without
            the newline, as the released HER-32B expects. A checkpoint trained with this package never needs it.

    Returns:
        `str`: A self-contained Jinja template.

    Example (not run: it needs a model):

    ```python
    >>> tokenizer.chat_template = chat_template(CHATML)
    ```
    """
    pieces = "".join(f"{{%- set {name} = {_quoted(getattr(frame, name))} -%}}\n" for name in _PIECES)
    source = (
        template_source(__package__, f"frame_{frame.name}.jinja")
        + f"{{%- set begin = {_quoted(begin)} -%}}\n"
        + pieces
        + template_source(__package__, "her.jinja")
    )
    if typed_tokens:
        halves = ", ".join(f"[{_quoted(token[0])}, {_quoted(token[1:])}]" for token in typed_tokens)
        source = _set(source, _TYPED, _TYPED.replace("[]", f"[{halves}]"))
    if bare_prefill:
        source = _set(source, _BARE_PREFILL, _BARE_PREFILL.replace("false", "true"))
    # White space that nobody sees is named by its number in our files; llama.cpp reads it only as it is.
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), source)


def training_template(template: str) -> str:
    """The template of a checkpoint, with `{% generation %}` round what a model is trained on.

    Args:
        template (`str`): A chat template. One that is not HER's comes back as it is.

    Returns:
        `str`: A template that renders the same, for `return_assistant_tokens_mask=True`.

    Example (not run: it needs a model):

    ```python
    >>> template = training_template(tokenizer.get_chat_template())
    >>> tokenizer.apply_chat_template(messages, chat_template=template, return_assistant_tokens_mask=True)
    ```
    """
    return _MARK.sub(r"{%- \1 -%}", template)


def scene_template() -> str:
    """Source of the scene prompt as one template, with a branch per language, chosen by the variable `language`."""
    default, *others = LANGUAGES
    branches = "".join(
        f"{{%- {'elif' if index else 'if'} language == '{language}' -%}}\n{scene_prompt_source(language).rstrip()}\n"
        for index, language in enumerate(others)
    )
    return f"{branches}{{%- else -%}}\n{scene_prompt_source(default).rstrip()}\n{{%- endif -%}}\n"


def _quoted(text: str) -> str:
    """A string literal, for all engines."""
    return json.dumps(text, ensure_ascii=False)


def _set(source: str, line: str, new: str) -> str:
    if source.count(line) != 1:
        raise RuntimeError(f"her.jinja must contain the line {line!r} exactly once; it was changed.")
    return source.replace(line, new)
