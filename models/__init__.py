"""Trained models that are installed with the code; see README.md."""
