"""Kernels, one file an operator family. Files whose name starts with ``_`` hold what several families share."""
