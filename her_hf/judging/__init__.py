"""Judges: critics, pairwise judges and reward models, with prompts in files and one loop that asks them."""

from her_hf.scoring.coser_dimensions import DIMENSIONS
from her_hf.scoring.missing import Missing

from .critics.coser import CoserJudgement, Judging, critic_messages, judge_dialogue, parse_flaws
from .pairwise.circumstances import Circumstances, circumstances_of
from .pairwise.judge import PairJudging, PairVerdict, PairwiseJudge
from .pairwise.pair_files import PairFile, read_pairs
from .pairwise.pairs import BadPair, Pair
from .pairwise.principles import Principle, Principles, load_principles
from .pairwise.reward_model import HERRewardModel
from .pairwise.verdicts import Verdict, parse_verdict
from .structured import JsonReply, read_answer

__all__ = [
    "DIMENSIONS",
    "BadPair",
    "Circumstances",
    "CoserJudgement",
    "HERRewardModel",
    "JsonReply",
    "Judging",
    "Missing",
    "Pair",
    "PairFile",
    "PairJudging",
    "PairVerdict",
    "PairwiseJudge",
    "Principle",
    "Principles",
    "Verdict",
    "circumstances_of",
    "critic_messages",
    "judge_dialogue",
    "load_principles",
    "parse_flaws",
    "parse_verdict",
    "read_answer",
    "read_pairs",
]
