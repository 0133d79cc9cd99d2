"""A model with operators of its own, each a NumPy function."""
