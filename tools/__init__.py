"""Checks of the source text that `make lint` runs: docstrings and structure."""
