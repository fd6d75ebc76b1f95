"""The contract of a task, its capabilities, and the registry that finds a task by its label."""
