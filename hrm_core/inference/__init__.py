"""Puzzles on their way through a model: slots, evaluation, voting, metrics, solving."""
