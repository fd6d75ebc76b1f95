"""Data sets on disk, the order they are trained in, and symmetries of examples."""
