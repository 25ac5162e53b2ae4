"""The form evaluation (dual-layer form, without a judge), from scenes to a report."""
