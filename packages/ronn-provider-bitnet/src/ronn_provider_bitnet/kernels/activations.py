"""From rows of float32 to signed bytes: one plane of them, or two that make 16 bits, with a scale for each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target

_entry = njit(error_model="numpy", nogil=True)
_to_i8, _bits = ops.convert("i8"), ops.bitcast("i32")
_ROUNDER, _ROUNDER_BITS = np.float32(12582912.0), np.int32(0x4B400000)  # 1.5 * 2**23
"""Adding it leaves the nearest integer, ties to even, in the low bits: for numbers below 2**22."""
TOP_BYTES, TOP_WORDS = 127.0, 32639.0  # 127 * 256 + 127
_SIGN = np.int32(0x7FFFFFFF)
_INFINITE = np.int32(0x7F800000)


@native("quantize_rows(x, m, k, groups, group, wide, planes, zero, least: f32, a, zeros, scale)")
def quantize_rows(target: Target) -> Callable[..., None]:
    """Rows of k floats to s8 a[planes, m, groups * wide] (zeros behind each group's ``group`` elements), i32
    zeros[planes, m, groups] (``zero`` times the sum of a group) and f32 scale[m].

    A row becomes ``round(x * s)``, ties to even, s = 127 / max(largest absolute value, least) with one plane and
    32639 / ... with two. The scale is what one step stands for; NaN where the row has a NaN or an infinity.
    """
    lanes = target.lanes(32)
    f32, i32, i8 = VectorType("f32", lanes), VectorType("i32", lanes), VectorType("i8", lanes)
    load, load_first, splat, isplat = f32.load, f32.load_first, f32.splat, i32.splat
    store, put_f, put_i, from_bits = i8.store, poke("f32"), poke("i32"), peek("f32")

    @_entry
    def run(
        x: int, m: int, k: int, groups: int, group: int, wide: int, planes: int, zero: int, least: Any, a: int,
        zeros: int, scale: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        across = groups * wide
        top = np.float32(TOP_WORDS) if planes == 2 else np.float32(TOP_BYTES)
        for r in range(m * worker // workers, m * (worker + 1) // workers):
            largest = isplat(np.int32(0))
            i = 0
            while i + lanes <= k:
                largest = ops.maximum(largest, _bits(load(x, r * k + i)) & isplat(_SIGN))
                i += lanes
            if i < k:
                largest = ops.maximum(largest, _bits(load_first(x, r * k + i, k - i)) & isplat(_SIGN))
            high = ops.reduce_max(largest)
            put_i(scale, r, high)
            peak = from_bits(scale, r)
            bad = high >= _INFINITE
            peak = max(peak, least)
            if bad or peak == np.float32(0):
                step, factor = np.float32(0), np.float32(0)
            else:
                factor = np.float32(top / peak)
                step = np.float32(peak / top)
            if bad:
                step = np.float32(np.nan)
            put_f(scale, r, step)
            for g in range(groups):
                begin, count = g * group, min(group, k - g * group)
                to = r * across + g * wide
                total, total_low = isplat(np.int32(0)), isplat(np.int32(0))
                i = 0
                while i < wide:  # whole vectors: see ``layout.padded``
                    left = count - i
                    if left >= lanes:
                        given = load(x, r * k + begin + i)
                    elif left > 0:
                        given = load_first(x, r * k + begin + i, left)
                    else:
                        given = splat(np.float32(0))
                    if bad:
                        given = splat(np.float32(0))
                    whole = _bits(given * splat(factor) + splat(_ROUNDER)) - isplat(_ROUNDER_BITS)
                    if planes == 2:
                        upper = (whole + isplat(np.int32(128))) >> isplat(np.int32(8))
                        lower = whole - (upper << isplat(np.int32(8)))
                        total = total + upper
                        total_low = total_low + lower
                        store(a, to + i, _to_i8(upper))
                        store(a, m * across + to + i, _to_i8(lower))
                    else:
                        total = total + whole
                        store(a, to + i, _to_i8(whole))
                    i += lanes
                put_i(zeros, r * groups + g, np.int32(zero * ops.reduce_add(total)))
                if planes == 2:
                    put_i(zeros, m * groups + r * groups + g, np.int32(zero * ops.reduce_add(total_low)))

    return run
