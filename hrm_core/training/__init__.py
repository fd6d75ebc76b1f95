"""Training: the loop, its reports, and starting and resuming runs."""
