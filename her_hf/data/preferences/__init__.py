"""Pairs labelled by a teacher: candidates, pairing, allocation to sets, the builder and its report."""
