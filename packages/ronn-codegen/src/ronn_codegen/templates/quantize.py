"""Between float32 and bytes, and arithmetic on quantised bytes.

Rounding is to nearest, ties to even; ``low`` and ``high`` clamp before the zero point is added. Bytes are taken as
unsigned: signed ones are flipped by 128 (``flip``), and so are their zero points.
"""

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
from ronn_codegen.templates._int8_tile import ROUNDER, ROUNDER_BITS

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_entry = njit(error_model="numpy", nogil=True)
_to_i32, _to_f32, _to_u8 = ops.convert("i32"), ops.convert("f32"), ops.convert("u8")
_bits = ops.bitcast("i32")
_ROUNDER, _BITS = np.float32(ROUNDER), np.int64(ROUNDER_BITS)


def rounding(lanes: int) -> Any:
    """``(real, low, high, zero) -> i32``: clamped, rounded, moved by ``zero``."""
    splat_f, splat_i = VectorType("f32", lanes).splat, VectorType("i32", lanes).splat

    @_jit
    def rounded(real: Any, low: float, high: float, zero: int) -> Any:
        real = ops.minimum(ops.maximum(real, splat_f(low)), splat_f(high))
        return _bits(real + splat_f(_ROUNDER)) + splat_i(np.int32(zero - _BITS))

    return rounded


@native("minmax_f32(x, n, partial, blocks)")
def minmax_f32(target: Target) -> Callable[..., None]:
    """Of each of ``blocks`` equal parts the least and largest element, or 0 where that lies further out."""
    lanes = target.lanes(32)
    f32 = VectorType("f32", lanes)
    load, load_first, splat, put = f32.load, f32.load_first, f32.splat, poke("f32")
    zero = np.float32(0)

    @_entry
    def run(x: int, n: int, partial: int, blocks: int, worker: int, workers: int) -> None:
        for block in range(blocks * worker // workers, blocks * (worker + 1) // workers):
            i, last = n * block // blocks, n * (block + 1) // blocks
            low, high = splat(zero), splat(zero)
            low1, high1 = splat(zero), splat(zero)
            while i + 2 * lanes <= last:
                v, v1 = load(x, i), load(x, i + lanes)
                low, high = ops.minimum(low, v), ops.maximum(high, v)
                low1, high1 = ops.minimum(low1, v1), ops.maximum(high1, v1)
                i += 2 * lanes
            while i < last:
                v = load_first(x, i, last - i)
                low, high = ops.minimum(low, v), ops.maximum(high, v)
                i += lanes
            put(partial, 2 * block, ops.reduce_min(ops.minimum(low, low1)))
            put(partial, 2 * block + 1, ops.reduce_max(ops.maximum(high, high1)))

    return run


@_jit
def byte_range(low: Any, high: Any) -> Any:
    """Scale (float32) and zero point that bring [low, high] (0 inside) to 0..255."""
    zero, top = np.float32(0), np.float32(255)
    step = np.float32((high - low) / top)
    if not step > zero:
        step = np.float32(1)
    place = min(max(np.float32(-low / step), zero), top)
    # Adding and taking away rounds to the nearest integer, ties to even.
    return step, np.int64(np.float32(np.float32(place + _ROUNDER) - _ROUNDER))


@native("range_u8(partial, count, scale, zero)")
def range_u8(target: Target) -> Callable[..., None]:
    """Scale (float32) and zero point (uint8) that bring the range of ``count`` partial ones to 0..255."""
    at, put, put_byte = peek("f32"), poke("f32"), poke("u8")

    @_entry
    def run(partial: int, count: int, scale: int, zero: int, worker: int, workers: int) -> None:
        low, high = np.float32(0), np.float32(0)
        for i in range(count):
            low, high = min(low, at(partial, 2 * i)), max(high, at(partial, 2 * i + 1))
        step, place = byte_range(low, high)
        put(scale, 0, step)
        put_byte(zero, 0, place)

    return run


@native("quantize_u8(x, y, rows, k, pitch, scale_at, zero_at)")
def quantize_u8(target: Target) -> Callable[..., None]:
    """Rows of k floats to rows of bytes ``pitch`` apart; scale and zero point lie in memory."""
    lanes = target.lanes(32)
    f32, u8 = VectorType("f32", lanes), VectorType("u8", lanes)
    load, load_first, splat, store, store_first = f32.load, f32.load_first, f32.splat, u8.store, u8.store_first
    rounded, at, byte = rounding(lanes), peek("f32"), peek("u8")

    @_entry
    def run(
        x: int, y: int, rows: int, k: int, pitch: int, scale_at: int, zero_at: int, worker: int, workers: int
    ) -> None:
        scale, zero = splat(at(scale_at, 0)), byte(zero_at, 0)
        low, high = np.float32(-zero), np.float32(255 - zero)
        flat = rows == 1 or pitch == k
        first, last = (rows * k, 1) if flat else (k, rows)
        for r in range(0 if flat else last * worker // workers, 1 if flat else last * (worker + 1) // workers):
            begin = first * worker // workers if flat else 0
            end = first * (worker + 1) // workers if flat else k
            i = begin
            while i + lanes <= end:
                store(y, r * pitch + i, _to_u8(rounded(load(x, r * k + i) / scale, low, high, zero)))
                i += lanes
            if i < end:
                v = load_first(x, r * k + i, end - i) / scale
                store_first(y, r * pitch + i, _to_u8(rounded(v, low, high, zero)), end - i)

    return run


@native("quantize_bias(x, y, n, scale, factor_at)")
def quantize_bias(target: Target) -> Callable[..., None]:
    """y = int32(floor(x / (factor * scale))), a factor per column and one that lies in memory."""
    at, put = peek("f32"), poke("i32")

    @_entry
    def run(x: int, y: int, n: int, scale: int, factor_at: int, worker: int, workers: int) -> None:
        factor = at(factor_at, 0)
        for i in range(n * worker // workers, n * (worker + 1) // workers):
            q = np.float32(at(x, i) / np.float32(factor * at(scale, i)))
            q = min(max(q, np.float32(-1e9)), np.float32(1e9))
            whole = np.int64(q)
            put(y, i, whole - 1 if np.float32(whole) > q else whole)

    return run


@native("int8_lut(x, y, n, lut)")
def int8_lut(target: Target) -> Callable[..., None]:
    """y[i] = lut[x[i]] over bytes."""
    at, put = peek("u8"), poke("u8")

    @_entry
    def run(x: int, y: int, n: int, lut: int, worker: int, workers: int) -> None:
        for i in range(n * worker // workers, n * (worker + 1) // workers):
            put(y, i, at(lut, at(x, i)))

    return run


@native(
    "int8_binary(a, b, y, rows, n, b_period, b_row, b_step, product, a_zero, b_zero, a_gain: f32, b_gain: f32,"
    " bias: f32, low: f32, high: f32, out_zero, flip)"
)
def int8_binary(target: Target) -> Callable[..., None]:
    """a * a_gain + b * b_gain + bias, or (a - a_zero) * (b - b_zero) * a_gain, on rows of n bytes.

    Row r of b begins at ``b + r % b_period * b_row``; its elements are b_step (0 or 1) apart.
    """
    lanes = target.lanes(32)
    u8, f32, i32 = VectorType("u8", lanes), VectorType("f32", lanes), VectorType("i32", lanes)
    load, load_first, store, store_first, splat_b = u8.load, u8.load_first, u8.store, u8.store_first, u8.splat
    splat, splat_i, rounded, byte = f32.splat, i32.splat, rounding(lanes), peek("u8")

    @_entry
    def run(
        a: int, b: int, y: int, rows: int, n: int, b_period: int, b_row: int, b_step: int, product: int, a_zero: int,
        b_zero: int, a_gain: float, b_gain: float, bias: float, low: float, high: float, out_zero: int, flip: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        turn = splat_b(np.uint8(flip))
        az, bz = splat_i(np.int32(a_zero)), splat_i(np.int32(b_zero))
        ag, bg, offset = splat(a_gain), splat(b_gain), splat(bias)
        blocks = (n + lanes - 1) // lanes
        work = rows * blocks
        first, last = work * worker // workers, work * (worker + 1) // workers
        r, i = first // blocks, first % blocks * lanes
        for _ in range(first, last):
            left = n - i
            other = b + r % b_period * b_row
            full = left >= lanes
            u = load(a, r * n + i) if full else load_first(a, r * n + i, left)
            if b_step == 0:
                v = splat_b(np.uint8(byte(other, 0)))
            else:
                v = load(other, i) if full else load_first(other, i, left)
            p, q = _to_i32(u ^ turn), _to_i32(v ^ turn)
            if product != 0:
                real = _to_f32((p - az) * (q - bz)) * ag
            else:
                real = _to_f32(p) * ag + _to_f32(q) * bg + offset
            out = _to_u8(rounded(real, low, high, out_zero)) ^ turn
            if full:
                store(y, r * n + i, out)
            else:
                store_first(y, r * n + i, out, left)
            i += lanes
            if i >= n:
                i = 0
                r += 1

    return run


@native("int8_softmax(x, y, rows, n, table, scale: f32, zero, low, high, flip)")
def int8_softmax(target: Target) -> Callable[..., None]:
    """Softmax of rows of n bytes; ``table`` holds exp(-d * x_scale) for each distance d from the largest byte."""
    at, real, put = peek("u8"), peek("f32"), poke("u8")

    @_entry
    def run(
        x: int,
        y: int,
        rows: int,
        n: int,
        table: int,
        scale: float,
        zero: int,
        low: int,
        high: int,
        flip: int,
        worker: int,
        workers: int,
    ) -> None:
        for r in range(rows * worker // workers, rows * (worker + 1) // workers):
            most = 0
            for i in range(n):
                most = max(most, at(x, r * n + i) ^ flip)
            total = np.float32(0)
            for i in range(n):
                total += real(table, most - (at(x, r * n + i) ^ flip))
            for i in range(n):
                part = real(table, most - (at(x, r * n + i) ^ flip)) / total / scale
                whole = np.int64(np.float32(np.float32(part + _ROUNDER) - _ROUNDER)) + zero
                put(y, r * n + i, min(max(whole, low), high))

    return run
