"""Pairs labelled by a teacher: candidates, balance, the builder and its report."""
