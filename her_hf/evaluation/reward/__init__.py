"""A reward model or judge on labelled pairs."""
