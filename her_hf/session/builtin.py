"""A small built-in scene, for a first chat without any data."""

from __future__ import annotations

from her_hf.scenes import Character, Scene


def builtin_scene() -> Scene:
    """The scene of `her-hf chat` if there is no other: two people and a locked lamp room."""
    return Scene(
        book="The Lamp at Carrow Head",
        topic="the log book with a torn page",
        scenario=(
            "A lighthouse on the northern coast, October 1911, an hour before dusk. The lamp room is locked, "
            "the log book lies open on the kitchen table with last night's page torn out, and the supply "
            "boat cannot leave before the wind drops. The inspector came for a day; by now it is clear that "
            "it will be at least a night."
        ),
        cast=[
            Character(
                name="Isobel Rae",
                profile=(
                    "Keeper of the light since her father fell ill, though the board's papers still carry "
                    "his name. Exact in her work, sparing with words, quick to laugh when she is caught out. "
                    "Knows every rock of the point."
                ),
                motivation=(
                    "The page holds the name of the boat I lit in against orders. If he asks straight out I "
                    "shall not lie well. Better to give him work until the wind turns."
                ),
            ),
            Character(
                name="Edmund Vail",
                profile=(
                    "Inspector of the lighthouse board, thirty, in new boots. Believes in columns that add "
                    "up. Kinder than his letters, and afraid of heights, which he has told nobody."
                ),
                motivation=(
                    "Someone tore that page out today. She knows I have seen it. I should like there to be a "
                    "good reason."
                ),
            ),
        ],
    )
