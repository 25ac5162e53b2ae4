"""End-to-end evaluations: simulate dialogues, call judges, compute results, write reports."""
