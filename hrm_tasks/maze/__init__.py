"""Build a maze data set from published mazes or CSV files, or generate one.

This folder holds everything about mazes: find a shortest path from S to G.
`hrm data --help` shows the line above.
"""
