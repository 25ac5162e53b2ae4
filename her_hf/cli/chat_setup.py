"""Choices of `her-hf chat` before the first line: the scene, both roles, the log file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from her_hf.inference import ChatModel, is_url, open_model
from her_hf.scenes import Scene, load_scenes
from her_hf.scenes.errors import shortened
from her_hf.scenes.names import one_line
from her_hf.scenes.readers.tavern import is_card_scene
from her_hf.session.builtin import builtin_scene

from .terminal import clean, hub_note

T = TypeVar("T")

_LISTED = 60


def open_shown(
    console: Console, spec: str, *, model_name: str | None, timeout: float, device: str | None
) -> ChatModel:
    """Opens the model and shows a spinner meanwhile. See [`open_model`]."""
    if not is_url(spec):
        from transformers.utils import logging

        logging.disable_progress_bar()
        if note := hub_note(spec):
            console.print(Text(note, "dim"))
    if not console.is_terminal:
        return open_model(spec, model=model_name, timeout=timeout, device=device)
    with console.status(Text(f"Opening {spec} …", "dim")):
        return open_model(spec, model=model_name, timeout=timeout, device=device)


def find_scenes(scenes: str | None, card: Path | None, visitor: str | None = None) -> list[Scene]:
    """The scenes to choose from: those named, else her-mini if it is available, else the built-in scene.

    The text of a card contains the visitor's name, which is therefore needed here; `scenes` may include cards.

    Raises:
        `ValueError`: If both are named, the source holds no scene, or the visitor's name is not valid.
        `FileNotFoundError`: If the source does not exist.
    """
    if scenes and card:
        raise ValueError("Give either --scenes or --card, not both.")
    if source := card or scenes:
        return load_scenes(source, visitor=visitor)
    mini = her_mini()
    return load_scenes(str(mini)) if mini else [builtin_scene()]


def her_mini() -> Path | None:
    """The folder of her-mini, in the working directory or next to the package; `None` if neither has its data."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        folder = root / "dataset_cards" / "her-mini"
        if any((folder / "data").glob("*.jsonl")):
            return folder
    return None


def choose_scene(scenes: Sequence[Scene], wanted: str | None, console: Console, *, ask: bool) -> Scene:
    """The scene with a number or with words that only it has; the user is asked if none is given and `ask` is set.

    Raises:
        `ValueError`: If no scene, or more than one, matches.
    """
    if wanted is not None:
        return _find(scenes, wanted)
    if len(scenes) == 1 or not ask:
        return scenes[0]
    console.print(scene_table(scenes[:_LISTED]))
    if len(scenes) > _LISTED:
        console.print(Text(f"… and {len(scenes) - _LISTED} more", "dim"))
    return _ask(console, "Which scene? Number or words (Enter for 1): ", lambda answer: _find(scenes, answer or "1"))


def playable(scene: Scene) -> list[str]:
    """Names of the characters that the model can play.

    Raises:
        `ValueError`: If there are none.
    """
    names = [member.name for member in scene.characters]
    if not names:
        raise ValueError(
            f"There is no character in the cast of this scene of {clean(scene.book)!r}. Add one, or choose another "
            "scene (--scene)."
        )
    return names


def choose_visitor(others: Sequence[str], wanted: str | None, console: Console, *, ask: bool) -> str | None:
    """The visitor's role: one of the others, or any name; `None` leaves the choice to the session."""
    if wanted is None and not others:
        return None
    return choose_name(
        others, wanted, console, ask=ask, question="Which role do you play? Number or any name", own=True
    )


def introduced(scene: Scene, visitor: str | None, about: str) -> Scene:
    """The scene with the visitor's own description, if the cast has none.

    Raises:
        `ValueError`: If the cast already describes the visitor.
    """
    member = next((member for member in scene.cast if member.name == visitor), None)
    if not about.strip() or member is None:  # the session describes a visitor who is not in the cast
        return scene
    if member.portrait:
        raise ValueError(
            f"--about-me cannot be used: the scene already describes {clean(member.name)!r}. Leave it out, or play a "
            "role of your own (--me)."
        )
    cast = [one.model_copy(update={"profile": about}) if one is member else one for one in scene.cast]
    return scene.model_copy(update={"cast": cast})


def choose_name(
    names: Sequence[str], wanted: str | None, console: Console, *, ask: bool, question: str, own: bool = False
) -> str:
    """One of the names, by number or by a part that only it contains; with `own`, any other text is a name as well.

    Raises:
        `ValueError`: If no name matches and `own` is not set, or several match.
    """

    def meant(answer: str) -> str:
        answer = one_line(answer)
        if answer.isdigit() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        for same in (
            [name for name in names if name == answer],
            [name for name in names if name.casefold() == answer.casefold()],
            [name for name in names if answer.casefold() in name.casefold()],
        ):
            if len(same) == 1:
                return same[0]
        if own and answer:
            return answer
        raise ValueError(f"{answer!r} is not one of: {clean(shortened(', '.join(names), 400))}")

    if wanted is not None:
        return meant(wanted)
    if not ask or (len(names) == 1 and not own):
        return names[0]
    for number, name in enumerate(names, 1):
        console.print(Text.assemble((f"{number:>3}  ", "dim"), (clean(name), "cyan")))
    return _ask(console, f"{question} (Enter for 1): ", lambda answer: meant(answer or "1"))


def scene_table(scenes: Sequence[Scene]) -> Table:
    """The scenes with their numbers."""
    table = Table(box=None, expand=True, header_style="dim", pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("Book", style="cyan", max_width=24, no_wrap=True)
    table.add_column("Scene", ratio=3, no_wrap=True)
    table.add_column("Who", style="dim", ratio=2, no_wrap=True)
    for number, scene in enumerate(scenes, 1):
        about = scene.topic or scene.chapter or scene.scenario
        who = ", ".join(member.name for member in scene.characters)
        table.add_row(str(number), *(Text(clean(text)) for text in (scene.book, about, who)))
    return table


def _find(scenes: Sequence[Scene], wanted: str) -> Scene:
    if wanted.isdigit():
        if 1 <= int(wanted) <= len(scenes):
            return scenes[int(wanted) - 1]
        raise ValueError(f"There is no scene {wanted}: there are {len(scenes)}, counted from 1.")
    words = wanted.casefold().split()

    def about(scene: Scene) -> str:
        names, scenario = [member.name for member in scene.cast], scene.scenario
        if is_card_scene(scene):  # its text contains the visitor's name, which does not identify the scene
            scenario = re.sub(rf"\b({'|'.join(map(re.escape, names[1:]))})\b", "", scenario)
            names = names[:1]
        return " ".join([scene.book, scene.chapter, scene.topic, scenario, *names]).casefold()

    found = [(number, scene) for number, scene in enumerate(scenes, 1) if all(word in about(scene) for word in words)]
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise ValueError(f"No scene contains the words {wanted!r}; --list-scenes shows all {len(scenes)}.")
    some = ", ".join(f"{number} ({clean(scene.book)})" for number, scene in found[:8])
    raise ValueError(f"{len(found)} scenes contain the words {wanted!r}: {some}. Give a number or more words.")


def _ask(console: Console, question: str, read: Callable[[str], T]) -> T:
    while True:
        answer = input(question).strip()
        try:
            return read(answer)
        except ValueError as error:
            console.print(Text(str(error), "red"))
