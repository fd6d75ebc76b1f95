"""Convert models: published checkpoints, model files and checkpoint folders into each other."""
