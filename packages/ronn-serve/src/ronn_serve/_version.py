"""The version of ronn-serve."""

__version__ = "0.1.0"
