"""Parts that reports share: Markdown and plots."""
