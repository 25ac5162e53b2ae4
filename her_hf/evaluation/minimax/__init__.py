"""The minimax evaluation (MiniMax calls it situated reenactment), from seeds to a report."""
