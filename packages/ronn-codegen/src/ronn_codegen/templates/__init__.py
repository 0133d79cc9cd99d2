"""Kernels written by hand once for numba, generated for each register tile."""
