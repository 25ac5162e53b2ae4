"""Playing scenes with models: given-circumstance acting as in CoSER, and MiniMax's Role-Play Bench."""

from .next_speaker import END_CHAT, parse_next_speaker

__all__ = ["END_CHAT", "parse_next_speaker"]
