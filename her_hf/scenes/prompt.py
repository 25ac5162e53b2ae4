"""The scene prompt: the system message with the model's role, the setting, and the format of its answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from her_hf.dual_layer import ZERO_WIDTH_SPACE, escape_tags
from her_hf.template_files import load_template, template_source

from .names import one_line

if TYPE_CHECKING:
    from .models import Scene

LANGUAGES = ("en", "zh")

_HEADING = re.compile(r"^([ \t]*=)(?==)", re.MULTILINE)


def scene_prompt_source(language: str = "en") -> str:
    """Text of the Jinja template; the comment at its top documents its variables.

    Raises:
        `ValueError`: If there is no template for the language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {list(LANGUAGES)}, got {language!r}")
    return template_source(__package__, f"scene_{language}.jinja")


def scene_variables(scene: Scene, character: str, *, system_thinking: bool = True) -> dict[str, Any]:
    """Variables of the scene prompt. All text is escaped: a tag or heading in a profile is plain text.

    Raises:
        `ValueError`: If the character is not in the cast.
    """
    member = scene.member(character)
    world = member not in scene.characters
    others = [other for other in scene.characters if other.name != character]
    return {
        "character": _name(character),
        "book": _name(scene.book),
        "profile": _text(member.portrait),
        "background": _text(member.background),
        "scenario": _text(scene.scenario),
        "others": [{"name": _text(one_line(other.name)), "profile": _text(other.portrait)} for other in others],
        "thoughts": _text(member.motivation),
        "system_thinking": system_thinking and not world,
        "environment": world,
    }


def others_text(scene: Scene, character: str) -> str:
    """The other characters as the scene prompt lists them, for other prompts about the same scene.

    Raises:
        `ValueError`: If the character is not in the cast.
    """
    colon = "：" if scene.language == "zh" else ": "
    others = scene_variables(scene, character)["others"]
    return "\n\n".join(colon.join(filter(None, (one["name"], one["profile"].strip()))) for one in others)


def scene_prompt(scene: Scene, character: str, *, system_thinking: bool = True) -> str:
    """The scene prompt for one member of the cast, in the scene's language.

    Args:
        scene (`Scene`): The scene.
        character (`str`): Who is played.
        system_thinking (`bool`, *optional*, defaults to `True`): Whether the prompt asks for system thinking; that of
            Environment never does.

    Returns:
        `str`: The text of the system message.

    Raises:
        `ValueError`: If the character is not in the cast.

    Source: the order of sections is that of the released HER-32B; the text is ours.
    """
    variables = scene_variables(scene, character, system_thinking=system_thinking)
    return load_template(__package__, f"scene_{scene.language}.jinja").render(**variables).strip()


def escape_headings(text: str) -> str:
    """Inserts a zero-width space into lines like `===Requirements===`, so that they start no part of the prompt."""
    return _HEADING.sub(rf"\1{ZERO_WIDTH_SPACE}", text)


def _name(text: str) -> str:
    """A name, escaped for use inside a line of the prompt."""
    return escape_tags(one_line(text))


def _text(text: str) -> str:
    """Text, escaped for use at the start of a line of the prompt."""
    return escape_headings(escape_tags(text))
