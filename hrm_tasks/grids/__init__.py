"""Build a data set of your own task from text grids.

This folder holds everything about the task of grids: one grid is the question, another its answer,
and the rule is the user's. `hrm data --help` shows the line above.
"""
