"""The I2_S kernel of bitnet.cpp, out of a library built from its source: products as bitnet.cpp tiles them.

Only the kernel is theirs. Activations are rounded to signed bytes, and sums scaled, by loops that numba compiles, with
the processor's vectors: what surrounds the kernel costs no more than it would there.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bitnet.chain import LEAST, Chain

INSTALL = "--bitnet-cpp PATH: a library with ggml_vec_dot_i2_i8_s, as building github.com/microsoft/BitNet gives it"
KERNEL = "ggml_vec_dot_i2_i8_s"
BLOCK = 128  # weights of which a byte holds one in four
ROWS, COLUMNS = 4, 128  # of the tiles, as its include/gemm-config.h has them
KERNEL_TYPE = c.CFUNCTYPE(
    None, c.c_int, c.c_size_t, c.c_size_t, c.c_size_t, c.c_size_t, c.c_size_t, c.c_size_t, c.c_int
)


def pack(w: np.ndarray) -> np.ndarray:
    """u8[N, K / 4] of int8[N, K]: codes w + 1; byte j of a block holds j, j + 32, j + 64, j + 96 from the high bits."""
    codes = (w + 1).astype(np.uint8).reshape(len(w), -1, 4, BLOCK // 4)
    packed = codes[:, :, 0] << 6 | codes[:, :, 1] << 4 | codes[:, :, 2] << 2 | codes[:, :, 3]
    return np.ascontiguousarray(packed.reshape(len(w), -1))


def kernel_of(library: Path) -> Any:
    """(n, s, bs, x, bx, y, by, nrc), addresses as integers. OSError where it does not load or has no such kernel."""
    loaded = c.CDLL(str(library))
    if not hasattr(loaded, KERNEL):
        raise OSError(f"{library} has no {KERNEL}")
    return KERNEL_TYPE((KERNEL, loaded))


def product_with(kernel: Any) -> Callable[..., None]:
    """(x, weights, scale, a, y): y f32[M, N] of x f32[M, K] and packed weights, by way of a s8[M, K]."""
    from numba import njit

    @njit(error_model="numpy", fastmath={"nnan", "ninf", "nsz", "reassoc", "contract"})
    def round_row(x, a):  # type: ignore[no-untyped-def]
        peak = np.float32(0)
        for v in x:
            peak = max(peak, abs(v))
        step = np.float32(127) / max(peak, np.float32(LEAST))
        total = np.int32(0)
        for i in range(x.size):
            v = np.int32(np.rint(x[i] * step))
            a[i] = v
            total += v
        return step, total

    @njit(error_model="numpy")
    def product(x, weights, scale, a, y):  # type: ignore[no-untyped-def]
        m, k = x.shape
        n = y.shape[1]
        at_a, at_w, at_y = a.ctypes.data, weights.ctypes.data, y.ctypes.data
        steps, totals = np.empty(m, np.float32), np.empty(m, np.float32)
        for r in range(m):
            steps[r], totals[r] = round_row(x[r], a[r])
        for c0 in range(0, n, COLUMNS):
            for r0 in range(0, m, ROWS):
                for column in range(c0, min(c0 + COLUMNS, n)):
                    kernel(k, at_y + 4 * (column + r0 * n), n, at_w + column * (k // 4), k, at_a + r0 * k, k,
                           min(ROWS, m - r0))  # fmt: skip
        for r in range(m):
            factor, total = scale / steps[r], totals[r]
            for i in range(n):
                y[r, i] = (y[r, i] - total) * factor

    return product


class BitnetCppRunner:
    """One product after another; M is 1 or a multiple of four."""

    def __init__(self, product: Callable[..., None], chain: Chain) -> None:
        self._product = product
        self._scales = [chain.scale(i) for i in range(chain.layers)]
        self._weights = [aligned(w) for w in chain.rolled(lambda w, scale: pack(w))]
        self.weight_bytes = float(sum(w.nbytes for w in self._weights))

    def feed(self, x: np.ndarray) -> None:
        self._x = x
        self._bytes = [aligned(np.empty((len(x), 4 * w.shape[1]), np.int8)) for w in self._weights]
        self._outputs = [np.empty((len(x), len(w)), np.float32) for w in self._weights]

    def __call__(self) -> np.ndarray:
        y = self._x
        for w, scale, a, out in zip(self._weights, self._scales, self._bytes, self._outputs, strict=True):
            self._product(y, w, scale, a, out)
            y = out
        return y


def aligned(data: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes."""
    room = np.empty(data.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    out = room[start : start + data.nbytes].view(data.dtype).reshape(data.shape)
    out[...] = data
    return out
