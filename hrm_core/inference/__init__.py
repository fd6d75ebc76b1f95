"""Inference: evaluation, voting, metrics, reading questions and solving them."""
