"""Pure functions that compute figures from turns, replies and judgements."""

from .coser import coser_score

__all__ = ["coser_score"]
