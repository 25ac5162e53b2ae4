"""Kinds of the losing side, each with the principle that it breaks, and which of them training never sees."""

from __future__ import annotations

SEEN = {
    "assistant_voice": "assistant_voice",
    "other_voice": "borrowed_voice",
    "speaks_for_other": "speaking_for_others",
    "mind_reading": "hidden_knowledge",
    "contradiction": "contradicted_fact",
    "repetition": "repetition",
    "spoken_thoughts": "thinking_aloud",
    "wrong_relationship": "wrong_relationship",
    "anachronism": "anachronism",
    "flat_emotion": "flat_emotion",
    "deaf_reply": "deaf_reply",
}
"""Corruptions of all splits."""

UNSEEN = {
    "breaking_frame": "breaking_frame",
    "lecture": "lecturing",
    "rushed_ending": "rushed_ending",
    "overwrought": "overwrought",
}
"""Corruptions of the test split alone."""

SAMPLED = {"base": "sampled_base", "her-sft": "sampled_her_sft"}
"""Model, as `sample.py` calls it, to kind."""

KINDS = {**SEEN, **UNSEEN, **dict.fromkeys(SAMPLED.values(), "incoherent")}
"""Every kind and the key of the principle that it breaks."""
