"""A training run: its job, checkpoints, launch and files."""
