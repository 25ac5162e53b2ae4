"""The parts of validate.py: leaks, near-duplicates, statistics, the card."""
