"""Three styles of models: how each is prompted, sees the history, and writes its turn.

A style is chosen, never guessed from a model's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from her_hf.inference import Message, Sampling
from her_hf.scenes import Scene
from her_hf.scenes.messages import messages_for
from her_hf.scenes.prompt import scene_prompt, scene_variables
from her_hf.settings import setting
from her_hf.template_files import load_template


@dataclass(frozen=True)
class Style:
    """How an actor is prompted.

    Args:
        name (`str`): `"her"`, `"coser"` or `"plain"`.
        notation (`str`): Notation of thoughts and actions: `"her"` or `"coser"`.
        thinking (`bool`): Whether a turn opens with system thinking.
        rounds (`int`): Default number of turns of a scene.
        max_tokens (`int`): Default maximum tokens of a turn.
        temperature (`float`): Default temperature.
        words (`int`): Length of a turn in words that the prompt asks for; HER's scene prompt has its own.
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
other instruction-tuned model, for which the prompt explains CoSER's notation.

Sources: HER, arXiv 2601.21459; CoSER, ICML 2025.
"""


def style_named(name: str) -> Style:
    """The style of this name.

    Raises:
        `ValueError`: If the name is unknown.
    """
    if name not in STYLES:
        raise ValueError(f"style must be one of {sorted(STYLES)}, got {name!r}")
    return STYLES[name]


@dataclass(frozen=True)
class ActorSettings:
    """How a model that plays characters is prompted and sampled.

    Args:
        style (`str`, *optional*, defaults to `"her"`): One of [`STYLES`].
        max_tokens (`int`, *optional*): Maximum tokens of a turn; the style's if not given.
        temperature (`float`, *optional*): The style's if not given.
        top_p (`float`, *optional*, defaults to 0.9): Probability mass that is sampled from.
        seed (`int`, *optional*, defaults to 42): Every call derives its own seed from this.

    Raises:
        `ValueError`: If the style is unknown.
    """

    style: str = setting(
        "her",
        choices=tuple(STYLES),
        help="Prompt format of the model: her (HER checkpoints), coser (CoSER checkpoints) or plain (any other).",
    )
    max_tokens: int | None = setting(
        None, help="Maximum tokens of a turn, thinking included; by default 4096 for her, 512 for others.", min=1
    )
    temperature: float | None = setting(
        None, help="Sampling temperature; by default 0 for coser, 0.7 for others.", min=0
    )
    top_p: float = setting(0.9, help="Nucleus sampling: the probability mass to keep.", min=0, max=1)
    seed: int = setting(42, help="Seed of all sampling and drawing; every call derives its own from it.")

    @property
    def how(self) -> Style:
        """The style that is named."""
        return style_named(self.style)

    def sampling(self, seed: int | None = None) -> Sampling:
        """How a turn is sampled."""
        temperature = self.how.temperature if self.temperature is None else self.temperature
        return Sampling(self.max_tokens or self.how.max_tokens, temperature, self.top_p, seed)


def actor_prompt(scene: Scene, character: str, style: Style, *, passages: Sequence[str] = ()) -> str:
    """The system message of an actor.

    Args:
        scene (`Scene`): The scene.
        character (`str`): Who is played.
        style ([`Style`]): How this model is prompted.
        passages (`Sequence[str]`, *optional*): Relevant passages of the book.
    """
    if style.notation == "her":
        prompt = scene_prompt(scene, character, system_thinking=style.thinking)
        return "\n\n".join([prompt, "===Relevant Passages===", *passages]) if passages else prompt
    variables = scene_variables(scene, character, system_thinking=False)
    explain = style.name == "plain"
    actor = load_template(__package__, "coser/actor.jinja")
    return actor.render(**variables, words=style.words, explain=explain, passages=passages).strip()


def actor_messages(scene: Scene, character: str, style: Style, *, prompt: str | None = None) -> list[Message]:
    """The messages for an actor: its role, and the turns so far as the character sees them.

    Args:
        scene (`Scene`): The scene, with the turns played so far as its dialogue.
        character (`str`): Who speaks next.
        style ([`Style`]): How this model is prompted.
        prompt (`str`, *optional*): The system message; by default that of [`actor_prompt`].

    Returns:
        `list[dict]`: Messages that end with a user message. Own past turns are in SELF view without system thinking,
            those of others in OTHERS view.
    """
    prompt = actor_prompt(scene, character, style) if prompt is None else prompt
    turns = len(scene.dialogue)
    return [
        dict(message)
        for message in messages_for(scene, character, turns=turns, prompt=prompt, notation=style.notation)
    ]
