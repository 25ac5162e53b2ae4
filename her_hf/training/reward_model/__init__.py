"""The two stages of a generative reward model."""
