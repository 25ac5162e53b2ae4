"""A training run: its base, job, checkpoints, card and launch, and merging its adapter."""
