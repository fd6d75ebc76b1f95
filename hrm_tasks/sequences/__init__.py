"""Build a data set of your own sequences of events from a CSV file.

This folder holds everything about the task of sequences: a model predicts the next event from those
before it, and from context that is known beforehand. `hrm data --help` shows the line above.
"""
