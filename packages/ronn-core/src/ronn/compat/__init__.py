"""Interfaces of other runtimes on top of RONN sessions."""
