"""The leaderboard: a static Space from `results.json` files, and the check of a submission."""
