"""The dual-layer format: layers, parser, stream, notation, views, patterns. Standard library only."""

from .labels import MAX_LABEL, foreign_start, looks_like_name
from .layers import ENVIRONMENT, TAGS, Issue, Layer, Segment, View
from .notation import render_segments, system_block, visible_runs
from .parser import parse_turn
from .patterns import pattern_of
from .stream import TurnEvent, TurnStream
from .text import ZERO_WIDTH_SPACE, escape_tags
from .turn import Turn
from .views import split_system, view_text

__all__ = [
    "ENVIRONMENT",
    "MAX_LABEL",
    "TAGS",
    "ZERO_WIDTH_SPACE",
    "Issue",
    "Layer",
    "Segment",
    "Turn",
    "TurnEvent",
    "TurnStream",
    "View",
    "escape_tags",
    "foreign_start",
    "looks_like_name",
    "parse_turn",
    "pattern_of",
    "render_segments",
    "split_system",
    "system_block",
    "view_text",
    "visible_runs",
]
