"""Build a data set of pictures of any kind, from a folder and a CSV of labels.

This folder holds everything about the task of pictures: which label, or which labels, has each?
`hrm data --help` shows the line above.
"""
