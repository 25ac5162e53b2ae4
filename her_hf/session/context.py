"""What the model sees of a conversation: its messages, and the tokens that its prompt may have."""

from __future__ import annotations

from collections.abc import Sequence

from her_hf.dual_layer import ENVIRONMENT, Turn
from her_hf.inference import ChatModel, Message
from her_hf.inference.window import WindowFull
from her_hf.scenes import Character, Scene, merge_turns

from .typed import guarded


def context_messages(
    scene: Scene, character: str, turns: Sequence[Turn], names: Sequence[str], *, thinking: bool
) -> list[Message]:
    """The messages of turns, as [`Scene.messages_for`] writes them; no turn can pass for one of another speaker.

    Args:
        scene (`Scene`): The scene; its own dialogue is not used.
        character (`str`): Whom the model plays.
        turns (`Sequence[Turn]`): The turns before the reply.
        names (`Sequence[str]`): Everyone who can speak.
        thinking (`bool`): Whether the prompt asks for system thinking.
    """
    merged = merge_turns(guarded(turn, [name for name in names if name != turn.name]) for turn in turns)
    world = (
        []
        if character != ENVIRONMENT or any(member.name == ENVIRONMENT for member in scene.cast)
        else [Character(name=ENVIRONMENT)]
    )
    played = scene.model_copy(update={"dialogue": merged, "cast": [*scene.cast, *world]})
    return list(played.messages_for(character, turns=len(merged), system_thinking=thinking))


def noted(scene: Scene, note: str) -> Scene:
    """The scene with the author's note after its scenario. The prompt escapes both."""
    if not note:
        return scene
    return scene.model_copy(update={"scenario": "\n\n".join(filter(None, (scene.scenario.strip(), note)))})


def described(scene: Scene, name: str, profile: str) -> Scene:
    """The scene with another description of a member of its cast."""
    new = {"profile": profile, "description": ""}
    cast = [member.model_copy(update=new) if member.name == name else member for member in scene.cast]
    return scene.model_copy(update={"cast": cast})


async def prompt_limit(model: ChatModel, window: int | None, max_tokens: int) -> int | None:
    """Most tokens of a prompt: the window minus the length of a reply; `None` if no window is known.

    Args:
        model (`ChatModel`): The model, which is asked for its window if none is given.
        window (`int`, *optional*): Most tokens of prompt and reply together.
        max_tokens (`int`): Most tokens of a reply.

    Raises:
        [`WindowFull`]: If a reply fills the window.
    """
    window = window or await model.window()
    if window is None:
        return None
    if window <= max_tokens:
        raise WindowFull(
            f"A window of {window} tokens has no room for a prompt next to a reply of up to {max_tokens}: allow fewer "
            "tokens per reply, or a larger window."
        )
    return window - max_tokens
