"""The CoSER evaluation (given-circumstance acting), from scenes to a report."""
