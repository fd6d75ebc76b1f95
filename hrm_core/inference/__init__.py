"""Inference: evaluation, voting, metrics and solving."""
