"""Three styles of model in one mechanism: how each is told its role, sees the history, and writes its turn.

A style is chosen, never guessed from a model's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from her_hf.inference import Message
from her_hf.scenes import Scene
from her_hf.scenes.messages import messages_for
from her_hf.scenes.prompt import scene_prompt, scene_variables
from her_hf.template_files import load_template


@dataclass(frozen=True)
class Style:
    """How an actor is spoken to.

    Args:
        name (`str`): `"her"`, `"coser"` or `"plain"`.
        notation (`str`): In which thoughts and actions are written and read: `"her"` or `"coser"`.
        thinking (`bool`): Whether a turn opens with system thinking.
        rounds (`int`): Turns of a scene unless told otherwise.
        max_tokens (`int`): Most tokens of a turn unless told otherwise.
        temperature (`float`): Unless told otherwise.
        words (`int`): The length of a turn that the prompt asks for; HER's scene prompt has its own.
    """

    name: str
    notation: str
    thinking: bool
    rounds: int
    max_tokens: int
    temperature: float
    words: int = 200


STYLES = {
    "her": Style("her", notation="her", thinking=True, rounds=10, max_tokens=4096, temperature=0.7),
    "coser": Style("coser", notation="coser", thinking=False, rounds=20, max_tokens=512, temperature=0.0, words=60),
    "plain": Style("plain", notation="coser", thinking=False, rounds=20, max_tokens=512, temperature=0.7, words=60),
}
"""HER checkpoints (defaults of HER's evaluation), models trained on CoSER's format (defaults of CoSER's), and any
other instruction-tuned model, which is told the notation of CoSER at length.

Sources: HER, arXiv 2601.21459; CoSER, ICML 2025.
"""


def style_named(name: str) -> Style:
    """The style of this name.

    Raises:
        `ValueError`: If there is none.
    """
    if name not in STYLES:
        raise ValueError(f"style must be one of {sorted(STYLES)}, got {name!r}")
    return STYLES[name]


def actor_prompt(scene: Scene, character: str, style: Style, *, passages: Sequence[str] = ()) -> str:
    """What an actor is told of its role.

    Args:
        scene (`Scene`): The scene.
        character (`str`): Who is played.
        style ([`Style`]): How this model is spoken to.
        passages (`Sequence[str]`, *optional*): Texts of the book that may help.
    """
    if style.notation == "her":
        told = scene_prompt(scene, character, system_thinking=style.thinking)
        return "\n\n".join([told, "===Relevant Passages===", *passages]) if passages else told
    variables = scene_variables(scene, character, system_thinking=False)
    explain = style.name == "plain"
    actor = load_template(__package__, "coser/actor.jinja")
    return actor.render(**variables, words=style.words, explain=explain, passages=passages).strip()


def actor_messages(scene: Scene, character: str, style: Style, *, prompt: str | None = None) -> list[Message]:
    """What an actor is asked: its role, and what was played so far as it may see it.

    Args:
        scene (`Scene`): With the turns played so far as its dialogue.
        character (`str`): Who speaks now.
        style ([`Style`]): How this model is spoken to.
        prompt (`str`, *optional*): The system message, if it is known already; see [`actor_prompt`].

    Returns:
        `list[dict]`: Ends with a user message. Own past turns are in SELF view without system thinking, those of
            others in OTHERS view.
    """
    told = actor_prompt(scene, character, style) if prompt is None else prompt
    turns = len(scene.dialogue)
    return [
        dict(message) for message in messages_for(scene, character, turns=turns, prompt=told, notation=style.notation)
    ]
