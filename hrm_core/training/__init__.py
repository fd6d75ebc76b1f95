"""The training loop, evaluation, and runs that survive."""
