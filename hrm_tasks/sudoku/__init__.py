"""Build a Sudoku data set from published puzzles or CSV files, or generate one.

This folder holds everything about Sudoku on boards of 4x4, 6x6 and 9x9.
`hrm data --help` shows the line above.
"""
