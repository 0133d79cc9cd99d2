"""Products of a matrix and few vectors, all contiguous along k, in float32: Y = activation(alpha * A @ X' + ...).

The vectors run along k: rows of A are read once, and sums of lanes are added up at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import emit as e
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import Value
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.gemm_shape import ROW_VECTORS
from ronn_codegen.templates.gemm_tile import combine_call

_ROWS = 4


@cache
def _dot_call(lanes: int, most: int) -> Any:
    """An intrinsic ``fn(rows, count, k, a, a_row, x, x_row, y, y_row, y_column)``: y[i, j] = A[i] . X[j] for at most
    ``_ROWS`` rows and ``most`` vectors."""
    kinds = [t.I64] * 8

    def emit(builder: Builder, rows: Value, count: Value, *rest: Value) -> None:
        def call(high: int, wide: int) -> None:
            name = f"dot_{high}_{wide}_{lanes}"
            builder.call(t.function_of(builder, name, kinds, partial(_emit_dot, lanes, high, wide)), rest)

        cases = [partial(call, high, wide) for high in range(1, _ROWS + 1) for wide in range(1, most + 1)]
        one = t.i64(1)
        number = builder.mul(builder.sub(rows, one), t.i64(most))
        t.choose(builder, builder.add(number, builder.sub(count, one)), cases)

    return t.emitted("dot", " ".join(["i64"] * 10), emit, inline=True)


def _emit_dot(
    lanes: int, rows: int, count: int, builder: Builder, k: Value, a: Value, a_row: Value, x: Value, x_row: Value,
    y: Value, y_row: Value, y_column: Value,
) -> None:  # fmt: skip
    vec, across = Vec("f32", lanes), 4 * lanes
    ways = 2 if count == 1 else 1  # sums of their own for even and odd vectors: one chain of additions is too slow
    shift = t.i64(lanes.bit_length() - 1)
    a_row, x_row, y_row, y_column = (t.scaled(builder, stride, 4) for stride in (a_row, x_row, y_row, y_column))
    a_at, x_at = ([t.scaled(builder, s, i) for i in range(n)] for s, n in ((a_row, rows), (x_row, count)))
    a, x, y = (t.pointer(builder, address) for address in (a, x, y))

    def step(_: Value, carried: Any, ways: int = 1, mask: Value | None = None) -> Any:
        left, right, sums = carried
        for way in range(ways):
            factors = [t.load(builder, vec, t.at(builder, right, offset), mask) for offset in x_at]
            for i in range(rows):
                value = t.load(builder, vec, t.at(builder, left, a_at[i]), mask)
                for j, factor in enumerate(factors):
                    sums[way][i][j] = t.multiply_add(builder, vec, value, factor, sums[way][i][j])
            left, right = t.at(builder, left, across), t.at(builder, right, across)
        return left, right, sums

    vectors = builder.lshr(k, shift)
    carried = [a, x, [[[ir.Constant(vec.llvm, None)] * count for _ in range(rows)] for _ in range(ways)]]
    if ways > 1:
        carried = t.loop(builder, builder.lshr(vectors, t.i64(1)), carried, partial(step, ways=ways))
        vectors = builder.and_(vectors, t.i64(1))
    carried = t.loop(builder, vectors, carried, step)
    rest = builder.and_(k, t.i64(lanes - 1))
    mask = t.mask_of(builder, rest, lanes)
    some = builder.icmp_signed(">", rest, t.i64(0))
    _, _, sums = t.when(builder, some, carried, lambda carried: step(t.i64(0), carried, mask=mask))
    for i in range(rows):
        for j in range(count):
            total = sums[0][i][j] if ways == 1 else builder.fadd(sums[0][i][j], sums[1][i][j])
            offset = builder.add(t.scaled(builder, y_row, i), t.scaled(builder, y_column, j))
            builder.store(e.tree(builder, vec, total, e.EMIT["add"]), t.at(builder, y, offset), align=4)


@native(
    "dot_f32(m, count, k, batch, offsets, a, a_row, x, x_row, y, y_row, y_column, source, source_row, source_kind,"
    " alpha: f32, beta: f32, mode, p0: f32, p1: f32)"
)
def dot_f32(target: Target) -> Callable[..., None]:
    """y[i, j] = A[i] . X[j] for m rows of A and ``count`` of X. Strides and offsets in elements; ``offsets`` is 0 or
    the address of int64[batch, 4], which are added to a, x, y and source.

    ``y_row`` is 1 (the result has a row for each vector) or ``y_column`` is. ``source_kind``: see ``gemm_f32``, its
    rows are those of the result. ``mode``, p0 and p1: see ``ronn_codegen.simd.modes``.
    """
    lanes, most = target.lanes(32), 4 if target.registers >= 32 else 2
    dot, combine, finish, offset = _dot_call(lanes, most), combine_call(lanes, "f32"), activate(lanes), peek("i64")
    height = _ROWS

    @njit(error_model="numpy", nogil=True)
    def run(
        m: int, count: int, k: int, batch: int, offsets: int, a: int, a_row: int, x: int, x_row: int,
        y: int, y_row: int, y_column: int, source: int, source_row: int, source_kind: int,
        alpha: Any, beta: Any, mode: int, p0: Any, p1: Any, worker: int, workers: int,
    ) -> None:  # fmt: skip
        tiles = (m + height - 1) // height
        at, end = batch * tiles * worker // workers, batch * tiles * (worker + 1) // workers
        while at < end:
            i = at // tiles
            first = at - i * tiles
            last = min(tiles, first + end - at)
            at += last - first
            ea, ex, ey, es = a, x, y, source
            if offsets != 0:
                ea += 4 * offset(offsets, 4 * i)
                ex += 4 * offset(offsets, 4 * i + 1)
                ey += 4 * offset(offsets, 4 * i + 2)
                es += 4 * offset(offsets, 4 * i + 3)
            for tile in range(first, last):
                row = tile * height
                for j in range(0, count, most):
                    dot(min(height, m - row), min(most, count - j), k, ea + 4 * row * a_row, a_row,
                        ex + 4 * j * x_row, x_row, ey + 4 * (row * y_row + j * y_column), y_row, y_column)  # fmt: skip
            row, done = first * height, min(m, last * height) - first * height
            across = y_row == 1  # the rows of A are columns of the result
            rows, columns, step = (count, done, y_column) if across else (done, count, y_row)
            to = ey + 4 * row * y_row
            if source_kind != 0 or alpha != 1:
                moved = source_row if not across else 1 if source_kind == ROW_VECTORS else 0
                combine(rows, columns, to, step, es + 4 * row * moved, source_row, source_kind, alpha, beta)
            if mode != 0:
                finish(mode, to, step, rows, columns, p0, p1)

    return run
