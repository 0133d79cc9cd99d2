"""Explicit vectors in numba: what a target has, vector types, operations on them, elementary functions."""
