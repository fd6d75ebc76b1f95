"""Measurements, each run as `python -m benchmarks.NAME`. Figures are ratios, or stand beside what the machine can do at best."""
