"""One-pass training: rows with a shared trunk, the attention between their parts, the loss and the trainer."""
