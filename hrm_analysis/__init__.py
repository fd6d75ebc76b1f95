"""Measure how a model thinks: its states from cycle to cycle, and what they say."""
