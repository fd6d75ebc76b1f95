"""Build a data set of Twenty20 cricket, ball by ball, from Cricsheet's JSON files.

This folder holds everything about the task of cricket: which of ten outcomes the next ball has.
`hrm data --help` shows the line above.
"""
