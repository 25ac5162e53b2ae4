"""Pure functions from turns, replies and judgements to figures."""
