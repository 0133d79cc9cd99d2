"""Lowerings of the ``ronn.bitnet`` domain to native kernels: a module for a family of operators, named in ``index``."""
