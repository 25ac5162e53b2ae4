"""Judges: critics, pairwise judges, reward models. Prompts in files, schemas of answers, one type for a lack."""

from her_hf.scoring.coser import DIMENSIONS

from .gca import GcaJudgement, Judging, critic_messages, judge_dialogue, parse_flaws
from .missing import Missing
from .pairs import BadPair, Pair, read_pairs
from .pairwise import PairJudging, PairVerdict, PairwiseJudge
from .principles import Principle, Principles, load_principles
from .reward_model import HERRewardModel
from .structured import JsonReply, read_answer
from .verdicts import Verdict, parse_verdict

__all__ = [
    "DIMENSIONS",
    "BadPair",
    "GcaJudgement",
    "HERRewardModel",
    "JsonReply",
    "Judging",
    "Missing",
    "Pair",
    "PairJudging",
    "PairVerdict",
    "PairwiseJudge",
    "Principle",
    "Principles",
    "Verdict",
    "critic_messages",
    "judge_dialogue",
    "load_principles",
    "parse_flaws",
    "parse_verdict",
    "read_answer",
    "read_pairs",
]
