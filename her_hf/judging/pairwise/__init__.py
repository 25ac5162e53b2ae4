"""Judges of a pair of replies: prompts, verdicts, pairs, the judge and the reward model."""
