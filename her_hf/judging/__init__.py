"""Judges: critic prompts in files, schemas of what they answer, and one type for a judgement that is missing."""

from her_hf.scoring.coser import DIMENSIONS

from .gca import GcaJudgement, Judging, critic_messages, judge_dialogue, parse_flaws
from .missing import Missing
from .structured import JsonReply, read_json_reply

__all__ = [
    "DIMENSIONS",
    "GcaJudgement",
    "JsonReply",
    "Judging",
    "Missing",
    "critic_messages",
    "judge_dialogue",
    "parse_flaws",
    "read_json_reply",
]
