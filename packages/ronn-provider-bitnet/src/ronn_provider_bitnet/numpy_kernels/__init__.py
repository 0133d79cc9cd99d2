"""Operators of the ``ronn.bitnet`` domain in NumPy: a module for a family of operators, named in ``index``."""
