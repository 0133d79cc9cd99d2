"""The version of ronn-testkit."""

__version__ = "0.1.0"
