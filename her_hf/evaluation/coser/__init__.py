"""CoSER's given-circumstance acting from scenes to a report."""
