"""The tasks, one folder each; a folder holds everything about its task."""
