"""Scenes: the data models, the scene prompt, and readers and writers of role-play data formats."""

from .cards import card_of, write_card
from .errors import SceneError
from .load import load_conversations, load_samples, load_scenes, scenes_in
from .messages import START
from .models import Character, CharacterKind, Scene
from .prompt import scene_prompt, scene_prompt_source, scene_variables
from .readers.conversations import ChatSample
from .turns import merge_turns, read_turn
from .writers import coser_row, her_row

__all__ = [
    "START",
    "Character",
    "CharacterKind",
    "ChatSample",
    "Scene",
    "SceneError",
    "card_of",
    "coser_row",
    "her_row",
    "load_conversations",
    "load_samples",
    "load_scenes",
    "merge_turns",
    "read_turn",
    "scene_prompt",
    "scene_prompt_source",
    "scene_variables",
    "scenes_in",
    "write_card",
]
