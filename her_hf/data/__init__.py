"""Data made with models: candidates of a policy, pairs labelled by a teacher, and the sets they go to."""
