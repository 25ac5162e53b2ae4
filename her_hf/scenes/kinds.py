"""The kind of a row of scene data, detected from its fields."""

from __future__ import annotations

from enum import StrEnum

from .fields import Row
from .readers.conversations import CHAT_SHAPES, is_conversation
from .readers.tavern import is_card

_HER_FIELDS = ("book_name", "character_datasets", "trace_id", "trace_id_book_chapter")
_COSER_FIELDS = ("dialogues", "character_profiles", "speaking_characters_w_env", "scenario")
SHAPES = (
    "scenes (`dialogues`, as CoSER's and HER's rows have them, or `cast` and `dialogue`), books (`plots`), character "
    f"cards, and conversations ({CHAT_SHAPES})"
)
"""The kinds for errors, with the fields that identify them."""


class Kind(StrEnum):
    """The kinds of rows that are read."""

    BOOK = "book"
    CARD = "card"
    SCENE = "scene"
    CHAT = "chat"
    HER = "her"
    COSER = "coser"


def kind_of(row: Row) -> Kind | None:
    """The kind of a row; `None` if it is unknown.

    A row with dialogues is HER's or CoSER's, regardless of other fields: both formats keep unknown fields.
    """
    if row.get("dialogues") is None:
        if isinstance(row.get("plots"), list):
            return Kind.BOOK
        if is_card(row):
            return Kind.CARD
        if "cast" in row and "dialogue" in row:
            return Kind.SCENE
        if is_conversation(row):
            return Kind.CHAT
    if any(key in row for key in _HER_FIELDS):
        return Kind.HER
    return Kind.COSER if any(key in row for key in _COSER_FIELDS) else None
