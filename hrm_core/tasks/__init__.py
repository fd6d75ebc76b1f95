"""The tasks: one file each, all with the interface of `task.py`."""
