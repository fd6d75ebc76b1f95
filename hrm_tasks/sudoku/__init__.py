"""Sudoku on boards of 4x4, 6x6 and 9x9."""
