"""Build a data set of text, of characters or byte-pair tokens, from files.

A model predicts the next token of a text and can go on with one: README.md.
"""
