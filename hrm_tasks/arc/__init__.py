"""ARC: coloured grids that a model learns by demonstrations."""
