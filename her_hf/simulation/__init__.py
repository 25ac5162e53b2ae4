"""Playing scenes: given-circumstance acting as in CoSER, and situated reenactment as in MiniMax's bench."""

from .next_speaker import END_CHAT, parse_next_speaker

__all__ = ["END_CHAT", "parse_next_speaker"]
