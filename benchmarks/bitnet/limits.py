"""What the machine allows: bytes a second that one thread reads from memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def reader(size: int) -> Callable[[], object]:
    """Reads so many bytes of memory from one end to the other with vector loads."""
    from numba import njit

    from ronn_codegen.simd import ops
    from ronn_codegen.simd.memory import VectorType
    from ronn_codegen.simd.target import host

    vectors = VectorType("i32", host().lanes(32))
    load, splat, lanes = vectors.load, vectors.splat, vectors.lanes
    zero = np.int32(0)

    @njit(error_model="numpy", nogil=True)
    def read(place, count):  # type: ignore[no-untyped-def]
        a, b, c, d = splat(zero), splat(zero), splat(zero), splat(zero)
        i = 0
        while i + 4 * lanes <= count:
            a, b = a + load(place, i), b + load(place, i + lanes)
            c, d = c + load(place, i + 2 * lanes), d + load(place, i + 3 * lanes)
            i += 4 * lanes
        return ops.reduce_add(a + b + c + d)

    data = np.ones(size // 4 + 16, np.int32)
    start = data.ctypes.data + -data.ctypes.data % 64
    read(start, 64)
    return lambda data=data: read(start, size // 4)
