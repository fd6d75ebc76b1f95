"""Mazes: find the shortest path from S to G."""
