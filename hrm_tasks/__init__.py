"""One folder a task: all that is known of it."""
