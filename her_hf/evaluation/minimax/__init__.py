"""MiniMax-style situated reenactment from seeds to a report."""
