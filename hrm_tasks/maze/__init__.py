"""Build a maze data set from published mazes or CSV files, or generate one.

This folder holds all that is known of mazes: find a shortest path from S to G. The line above is for `hrm data --help`.
"""
