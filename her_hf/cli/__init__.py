"""Hugging Face integration kit for HER."""
