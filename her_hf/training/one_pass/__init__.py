"""One-pass training: rows with a shared trunk, who attends to whom, the loss and the trainer."""
