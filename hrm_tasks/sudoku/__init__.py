"""Build a Sudoku data set from published puzzles or CSV files, or generate one.

This folder holds all that is known of Sudoku, on boards of 4x4, 6x6 and 9x9. The line above is for `hrm data --help`.
"""
