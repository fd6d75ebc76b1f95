"""Proof that a backend computes what the published code computes."""
