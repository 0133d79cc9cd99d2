"""Arrays whose vectors do not lie across two lines of a cache: NumPy aligns to 16 bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LINE = 64  # bytes


def aligned_empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array in C order that begins with a line."""
    return _within(np.empty(_size(shape, dtype) + LINE - 1, np.uint8), shape, dtype)


def aligned_zeros(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """The same, of zeros."""
    return _within(np.zeros(_size(shape, dtype) + LINE - 1, np.uint8), shape, dtype)


def _size(shape: Sequence[int], dtype: Any) -> int:
    return math.prod(shape) * int(np.dtype(dtype).itemsize)


def _within(memory: np.ndarray, shape: Sequence[int], dtype: Any) -> np.ndarray:
    start = -memory.ctypes.data % LINE
    return memory[start : start + _size(shape, dtype)].view(dtype).reshape(shape)
