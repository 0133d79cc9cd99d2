"""Turns the pictures of a folder the right way up, in batches."""
