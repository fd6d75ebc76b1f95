"""Build a data set of your own task from text grids.

This folder holds all that is known of grids: one is the question, another its answer, and the rule is anybody's.
The line above is for `hrm data --help`.
"""
