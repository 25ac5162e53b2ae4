"""Pure functions from turns, replies and judgements to figures."""

from .coser import coser_score

__all__ = ["coser_score"]
