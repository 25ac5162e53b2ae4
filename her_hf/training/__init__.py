"""One-pass SFT: rows with a shared trunk, a trainer for them, and what a run writes."""
