"""The version of ronn-hrm."""

__version__ = "0.1.0"
