"""Other people's files and ours: published checkpoints, model files and checkpoint folders, each into each."""
