"""Memory for weights, in large pages: a stream of small ones runs at half the speed where addresses are looked up
twice, as in virtual machines. Imports no compiler."""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.forks import renew_after_fork
from ronn_codegen.aligned import LINE, aligned_zeros

_PAGE = 2 << 20
_SMALLEST = 1 << 19  # bytes from which an array may have large pages
_BLOCK = 32 << 20


class _Blocks:
    """Hands out parts of blocks of large pages. A block lives as long as an array in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: weakref.ref[mmap.mmap] | None = None
        self._end = 0

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def zeros(self, size: int) -> np.ndarray:
        """Bytes, aligned to a line of a cache; those of no other array."""
        with self._lock:
            block = None if self._current is None else self._current()
            if block is None or self._end + size > len(block):
                block = _pages(max(_BLOCK, size) + _PAGE)
                self._current, self._end = weakref.ref(block), -np.frombuffer(block, np.uint8).ctypes.data % _PAGE
            begin, self._end = self._end, self._end + -(-size // LINE) * LINE
            return np.frombuffer(block, np.uint8, size, begin)


def _pages(size: int) -> mmap.mmap:
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            pages.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            pass  # a kernel without large pages
    return pages


_blocks = _Blocks()
renew_after_fork(_blocks)


def streamed_zeros(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of zeros in C order that begins with a line, in large pages where it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < _SMALLEST or not hasattr(mmap, "MAP_ANONYMOUS"):
        return aligned_zeros(shape, dtype)
    return _blocks.zeros(size).view(dtype).reshape(shape)
