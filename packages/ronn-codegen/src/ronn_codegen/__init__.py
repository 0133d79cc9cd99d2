"""Kernel generation for RONN. Imports nothing heavy; ``ronn_codegen.simd`` and ``.templates`` import numba."""

from ronn_codegen._version import __version__

__all__ = ["__version__"]
