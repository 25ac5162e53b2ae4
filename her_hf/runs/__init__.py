"""Machinery of all runs: units, progress, session records, the result envelope and parts of reports."""
