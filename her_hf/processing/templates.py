"""Assembles the chat template of a checkpoint from the parts in `templates/`. The result needs no other file."""

from __future__ import annotations

import json
import re

from her_hf.scenes.prompt import LANGUAGES, scene_prompt_source
from her_hf.template_files import template_source

from .frames import Frame

_BARE_PREFILL = "{%- set bare_prefill = false -%}"
_BOS = "{%- set bos = '' -%}"
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_MARK = re.compile(r"\{#- ((?:end)?generation) -#\}")
SCENE = "scene"
"""Name of the named template that holds the scene prompt."""


def chat_template(frame: Frame, *, bos: str = "", bare_prefill: bool = False) -> str:
    """Source of the HER chat template, as a checkpoint carries it: every engine that serves models can render it.

    It does not mark what a model is trained on, since some engines refuse the statement; see [`training_template`].

    Args:
        frame (`Frame`): How the base frames turns.
        bos (`str`, *optional*, defaults to `""`): Token that every prompt begins with.
        bare_prefill (`bool`, *optional*, defaults to `False`): Whether a reply opens with `<system_thinking>` without
            the newline, as the released HER-32B expects. A checkpoint trained with this package never needs it.

    Returns:
        `str`: A self-contained Jinja template.

    Example (not run: it needs a model):

    ```python
    >>> tokenizer.chat_template = chat_template(CHATML)
    ```
    """
    source = template_source(__package__, f"frame_{frame.name}.jinja") + template_source(__package__, "her.jinja")
    if bos:
        source = _set(source, _BOS, f"{{%- set bos = {json.dumps(bos, ensure_ascii=False)} -%}}")
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


def _set(source: str, line: str, new: str) -> str:
    if source.count(line) != 1:
        raise RuntimeError(f"her.jinja must contain the line {line!r} exactly once; it was changed.")
    return source.replace(line, new)
