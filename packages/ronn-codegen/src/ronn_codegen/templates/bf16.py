"""Rounding float32 to bfloat16, in pairs: words of 32 bits with the first of two elements in the lower half.

To nearest, ties to even; NaN stays NaN, infinities stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import intrinsic

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.vectors import Vector, bf16_bits

_jit = njit(error_model="numpy", nogil=True)


@intrinsic
def _halves(typing: Any, x: Any) -> Any:
    """Each lane rounded, as u16."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return bf16_bits(Vector(builder, x, args[0])).to("u16").value

    return x.like("u16")(x), generate


@intrinsic
def _words(typing: Any, low: Any, high: Any) -> Any:
    """Lanes of two vectors rounded, as i32."""

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        lower, upper = (bf16_bits(Vector(builder, low, value)) for value in args)
        return (lower | (upper << 16)).value

    return low.like("i32")(low, high), generate


@native("bf16_pairs(x, y, rows, columns, x_row, y_row)")
def bf16_pairs(target: Target) -> Callable[..., None]:
    """``x[rows, columns]`` (rows ``x_row`` elements apart) as words ``y[rows, ceil(columns / 2)]`` of neighbours in a
    row (rows ``y_row`` words apart); behind an odd last one comes zero."""
    lanes = target.lanes(32)
    f32, u16 = VectorType("f32", lanes), VectorType("u16", lanes)
    load, load_first, store, store_first = f32.load, f32.load_first, u16.store, u16.store_first
    share = 64 * lanes  # columns of a unit of work

    @_jit
    def run(x: int, y: int, rows: int, columns: int, x_row: int, y_row: int, worker: int, workers: int) -> None:
        parts = (columns + share - 1) // share
        units = rows * parts
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            row, j = unit // parts, unit % parts * share
            end = min(j + share, columns)
            source, to = x + 4 * row * x_row, y + 4 * row * y_row
            while j + lanes <= end:
                store(to, j, _halves(load(source, j)))
                j += lanes
            if j < end:
                store_first(to, j, _halves(load_first(source, j, end - j)), (end - j + 1) // 2 * 2)

    return run


@native("bf16_row_pairs(x, y, rows, columns, batch, x_row, x_batch, y_batch)")
def bf16_row_pairs(target: Target) -> Callable[..., None]:
    """``x[batch, rows, columns]`` as words ``y[batch, ceil(rows / 2), columns]`` of neighbours in a column; below an
    odd last row come zeros. Strides in elements and words, rows of y follow each other."""
    lanes = target.lanes(32)
    f32, i32 = VectorType("f32", lanes), VectorType("i32", lanes)
    load, load_first, store, store_first = f32.load, f32.load_first, i32.store, i32.store_first

    @_jit
    def run(
        x: int, y: int, rows: int, columns: int, batch: int, x_row: int, x_batch: int, y_batch: int,
        worker: int, workers: int,
    ) -> None:  # fmt: skip
        pairs = (rows + 1) // 2
        units = batch * pairs
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            e, pair = unit // pairs, unit % pairs
            low = x + 4 * (e * x_batch + 2 * pair * x_row)
            high, to = low + 4 * x_row, y + 4 * (e * y_batch + pair * columns)
            both, j = 2 * pair + 1 < rows, 0
            while both and j + lanes <= columns:
                store(to, j, _words(load(low, j), load(high, j)))
                j += lanes
            while j < columns:
                left = min(lanes, columns - j)
                above = load_first(high, j, left if both else 0)
                store_first(to, j, _words(load_first(low, j, left), above), left)
                j += lanes

    return run
