"""Build an ARC data set from task JSON, or add tasks to one.

This folder holds all that is known of ARC: coloured grids, and the rule that turns one into another to be found from
a few demonstrations. The line above is for `hrm data --help`.
"""
