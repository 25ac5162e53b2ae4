"""Shared parts of reports: Markdown, HTML, plots and transcripts."""
