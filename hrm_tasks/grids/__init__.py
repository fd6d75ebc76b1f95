"""Your own task: a text grid for a question and one for its answer."""
