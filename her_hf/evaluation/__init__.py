"""Evaluations from end to end: models opened, scenes played, judges asked, results and reports written."""
