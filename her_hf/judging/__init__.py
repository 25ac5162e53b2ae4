"""Judges: critic prompts in files, schemas of what they answer, and one type for a judgement that is missing."""

from .gca import DIMENSIONS, GcaJudgement, critic_messages, judge_dialogue, parse_flaws
from .missing import Missing
from .structured import JsonReply, read_json_reply

__all__ = [
    "DIMENSIONS",
    "GcaJudgement",
    "JsonReply",
    "Missing",
    "critic_messages",
    "judge_dialogue",
    "parse_flaws",
    "read_json_reply",
]
