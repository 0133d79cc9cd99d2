"""Products of a matrix and one vector, both contiguous along k, in float32: y = activation(alpha * A @ x + ...)."""

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
from ronn_codegen.templates.gemm_tile import combine_call

_ROWS, _WAYS = 4, 2  # accumulators: enough to hide the latency of a multiply-add


@cache
def _dot_call(lanes: int) -> Any:
    """An intrinsic ``fn(rows, k, a, a_row, x, y)``: y[i] = A[i] . x for at most ``_ROWS`` rows."""
    kinds = [t.I64] * 5

    def emit(builder: Builder, rows: Value, *rest: Value) -> None:
        def call(count: int) -> None:
            builder.call(t.function_of(builder, f"dot_{count}_{lanes}", kinds, partial(_emit_dot, lanes, count)), rest)

        cases = [partial(call, count) for count in range(1, _ROWS + 1)]
        t.choose(builder, builder.sub(rows, t.i64(1)), cases)

    return t.emitted("dot", "i64 i64 i64 i64 i64 i64", emit, inline=True)


def _emit_dot(
    lanes: int, rows: int, builder: Builder, k: Value, a: Value, a_row: Value, x: Value, y: Value
) -> None:  # fmt: skip
    vec, across = Vec("f32", lanes), 4 * lanes
    shift, places = (
        t.i64(lanes.bit_length() - 1),
        [t.scaled(builder, t.scaled(builder, a_row, 4), i) for i in range(rows)],
    )
    a, x, y = (t.pointer(builder, address) for address in (a, x, y))

    def step(_: Value, carried: Any, ways: int = 1, mask: Value | None = None) -> Any:
        at, right, sums = carried
        for way in range(ways):
            factor = t.load(builder, vec, right, mask)
            for i in range(rows):
                value = t.load(builder, vec, t.at(builder, at, places[i]), mask)
                sums[way][i] = t.multiply_add(builder, vec, value, factor, sums[way][i])
            at, right = t.at(builder, at, across), t.at(builder, right, across)
        return at, right, sums

    zero = [[ir.Constant(vec.llvm, None)] * rows for _ in range(_WAYS)]
    vectors = builder.lshr(k, shift)
    pairs = builder.lshr(vectors, t.i64(_WAYS.bit_length() - 1))
    carried = t.loop(builder, pairs, [a, x, zero], partial(step, ways=_WAYS))
    carried = t.loop(builder, builder.and_(vectors, t.i64(_WAYS - 1)), carried, step)
    rest = builder.and_(k, t.i64(lanes - 1))
    mask = t.mask_of(builder, rest, lanes)
    some = builder.icmp_signed(">", rest, t.i64(0))
    _, _, sums = t.when(builder, some, carried, lambda carried: step(t.i64(0), carried, mask=mask))
    for i in range(rows):
        total = sums[0][i]
        for way in range(1, _WAYS):
            total = builder.fadd(total, sums[way][i])
        builder.store(e.tree(builder, vec, total, e.EMIT["add"]), t.at(builder, y, 4 * i), align=4)


@native(
    "dot_f32(m, k, batch, offsets, a, a_row, x, y, source, source_kind, alpha: f32, beta: f32, mode, p0: f32, p1: f32)"
)
def dot_f32(target: Target) -> Callable[..., None]:
    """Strides and offsets in elements; ``offsets`` is 0 or the address of int64[batch, 4], which are added to a, x, y
    and source. ``source_kind``: 0 none, 1 m elements, 2 one element. ``mode``, p0, p1: ``ronn_codegen.simd.modes``."""
    lanes = target.lanes(32)
    dot, combine, finish, offset = _dot_call(lanes), combine_call(lanes, "f32"), activate(lanes), peek("i64")
    height = _ROWS

    @njit(error_model="numpy", nogil=True)
    def run(
        m: int, k: int, batch: int, offsets: int, a: int, a_row: int, x: int, y: int, source: int, source_kind: int,
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
                dot(min(height, m - row), k, ea + 4 * row * a_row, a_row, ex, ey + 4 * row)
            row, count = first * height, min(m, last * height) - first * height
            if source_kind != 0 or alpha != 1:
                start = es + (4 * row if source_kind == 1 else 0)
                combine(1, count, ey + 4 * row, 0, start, 0, source_kind, alpha, beta)
            if mode != 0:
                finish(mode, ey + 4 * row, 0, 1, count, p0, p1)

    return run
