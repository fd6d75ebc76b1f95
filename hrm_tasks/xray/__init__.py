"""Build a data set of chest X-rays, with one or several findings each.

This folder holds everything about the task of X-rays: which findings does a picture show?
`hrm data --help` shows the line above.
"""
