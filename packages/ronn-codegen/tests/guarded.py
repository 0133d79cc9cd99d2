"""Arrays with bytes around them that a kernel must leave alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_GUARD = 128
_MARK = 0xA5


class Guarded:
    """An array in a buffer whose other bytes must not change; zeros, or a copy of ``like``. ``shift`` elements off the
    alignment of the buffer."""

    def __init__(self, shape: Sequence[int], dtype: Any, shift: int = 0) -> None:
        size = np.dtype(dtype).itemsize
        n = int(np.prod(shape)) * size
        self.buffer = np.full(n + 2 * _GUARD + 32, _MARK, np.uint8)
        self.start = _GUARD + shift * size % 32
        self.end = self.start + n
        self.array = self.buffer[self.start : self.end].view(dtype).reshape(shape)
        self.array[...] = 0

    @classmethod
    def of(cls, like: np.ndarray) -> Guarded:
        made = cls(like.shape, like.dtype)
        made.array[...] = like
        return made

    @property
    def address(self) -> int:
        return self.array.ctypes.data

    def check(self) -> None:
        """AssertionError when a byte outside of the array was written."""
        assert (self.buffer[: self.start] == _MARK).all() and (self.buffer[self.end :] == _MARK).all()
