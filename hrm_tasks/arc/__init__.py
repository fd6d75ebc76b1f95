"""Build an ARC data set from task JSON, or add tasks to one.

This folder holds everything about ARC: find the rule that turns one coloured grid into another from a
few demonstrations. `hrm data --help` shows the line above.
"""
