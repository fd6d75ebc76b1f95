"""Pictures of puzzles, of a model at work, and of training runs."""
