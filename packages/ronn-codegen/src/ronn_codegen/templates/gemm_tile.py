"""The register tile of matrix products: sums over k, then source, clamp and store; and what is done to a tile after."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.emit import Builder, splat
from ronn_codegen.simd.tile import Panel, Rows, TileShape, Value
from ronn_codegen.simd.vectors import Vector, largest, smallest
from ronn_codegen.templates.gemm_shape import ROW_VECTORS, Tile

CLAMPED, STREAMED, DISTANT = 2, 4, 8  # flags of a tile, beside ROW_VECTORS
LINE = 64  # bytes of a line of the caches
_TILE = "i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 f32 f32"
_COMBINE = "i64 i64 i64 i64 i64 i64 i64 f32 f32"


@cache
def tile_call(tile: Tile, elem: str, terms: t.Terms = t.FACTORS) -> Any:
    """An intrinsic that computes one tile of any size up to ``tile.rows_of(vectors)`` rows, as

    ``fn(rows, columns, steps, tail, a, a_row, a_step, b, b_step, c, c_row, source, source_row, flags, fetch, apart,
    low, high)``

    (addresses, strides in elements): C = clamp(A @ B + source). flags: ROW_VECTORS there is a source, CLAMPED clamp
    between low and high, STREAMED fetch into the second-level cache, for each step, the lines
    ``fetch``, ``fetch + apart`` and so on bytes beyond B, as many as a row of a panel has. B has whole vectors of
    columns, but for its last ``tail`` steps. DISTANT fetches C while sums are made. A and B hold what ``terms``
    multiply.
    """
    cases = [
        TileShape(rows, vectors, tile.lanes, elem)
        for vectors in range(1, tile.vectors + 1)
        for rows in range(1, tile.rows_of(vectors) + 1)
    ]
    narrow = tile.vectors // 2 * 2 * tile.rows  # cases of tiles with twice as many rows
    params = _TILE.replace("f32", elem)
    kinds = [t.KINDS[kind][0] for kind in params.split()][1:]

    def emit(builder: Builder, rows: Value, columns: Value, *rest: Value) -> None:
        last = builder.lshr(builder.sub(columns, t.i64(1)), t.i64(tile.lanes.bit_length() - 1))
        number = builder.sub(rows, t.i64(1))
        before = builder.mul(last, t.i64(2 * tile.rows))
        wide = builder.sub(last, t.i64(tile.vectors // 2))
        before_wide = builder.add(t.i64(narrow), builder.mul(wide, t.i64(tile.rows)))
        is_wide = builder.icmp_signed(">=", wide, t.i64(0))
        number = builder.add(number, builder.select(is_wide, before_wide, before))

        def call(case: TileShape) -> None:
            name = f"tile_{case.elem}_{case.rows}_{case.vectors}_{case.lanes}"
            streams = case.vectors == tile.vectors
            tile_of_case = t.function_of(builder, name, kinds, partial(_emit_tile, case, streams, terms))
            builder.call(tile_of_case, [columns, *rest])

        t.choose(builder, number, [partial(call, case) for case in cases])

    return t.emitted("gemm_tile", params, emit, inline=True)


def _emit_tile(
    shape: TileShape, streams: bool, terms: t.Terms, builder: Builder, columns: Value, steps: Value, tail: Value,
    a: Value, a_row: Value, a_step: Value, b: Value, b_step: Value, c: Value, c_row: Value, source: Value,
    source_row: Value, flags: Value, fetch: Value, apart: Value, low: Value, high: Value,
) -> None:  # fmt: skip
    vec, across = shape.vec, shape.lanes * shape.size
    a_row, a_step, b_step, c_row, source_row = (
        t.scaled(builder, stride, shape.size) for stride in (a_row, a_step, b_step, c_row, source_row)
    )
    a, b, c, source = (t.pointer(builder, address) for address in (a, b, c, source))
    mask = t.mask_of(builder, builder.sub(columns, t.i64((shape.vectors - 1) * shape.lanes)), shape.lanes)

    def flag(bit: int) -> Value:
        return builder.icmp_signed("!=", builder.and_(flags, t.i64(bit)), t.i64(0))

    with builder.if_then(flag(DISTANT)):
        for i in range(shape.rows):
            line = t.at(builder, c, t.scaled(builder, c_row, i))
            for offset in range(0, across * shape.vectors, LINE):
                t.prefetch(builder, t.at(builder, line, offset), write=True)
    rows = Rows(a, a_row, a_step)
    sums = t.zeros(shape)
    if streams:
        streamed = builder.select(flag(STREAMED), builder.sub(steps, tail), t.i64(0))
        lines = max(across * shape.vectors // LINE, 1)
        fetched = [builder.add(fetch, builder.mul(apart, t.i64(i))) for i in range(lines)]
        sums = t.outer_products(builder, shape, streamed, rows, Panel(b, b_step, fetch=fetched), sums, terms)
        rows, b, steps = _after(builder, rows, b, b_step, streamed, steps)
    # Masked loads and stores cost a tenth of the time of short sums.
    safe = builder.sub(steps, tail)
    sums = t.outer_products(builder, shape, safe, rows, Panel(b, b_step), sums, terms)
    rows, b, steps = _after(builder, rows, b, b_step, safe, steps)
    sums = t.outer_products(builder, shape, steps, rows, Panel(b, b_step, mask=mask), sums, terms)

    def mask_at(j: int) -> Value | None:
        return mask if j == shape.vectors - 1 else None

    def add(value: Value, place: Value, j: int) -> Value:
        return builder.fadd(t.load(builder, vec, place, mask_at(j)), value)

    sums = t.when(builder, flag(ROW_VECTORS), sums, lambda tile: t.each(builder, tile, source, source_row, across, add))
    lows, highs = (Vector(builder, vec, splat(builder, bound, shape.lanes)) for bound in (low, high))

    def clamp(value: Value) -> Value:
        return smallest(highs, largest(lows, Vector(builder, vec, value))).value

    sums = t.when(builder, flag(CLAMPED), sums, lambda tile: [[clamp(value) for value in row] for row in tile])

    def put(columns: slice, last_mask: Value | None) -> None:
        for i, row in enumerate(sums):
            start = t.at(builder, c, t.scaled(builder, c_row, i))
            for j in range(shape.vectors)[columns]:
                t.store(builder, vec, row[j], t.at(builder, start, j * across), last_mask)

    put(slice(0, -1), None)
    whole = builder.icmp_signed(">=", columns, t.i64(shape.columns))
    t.choose(builder, builder.zext(whole, t.I64), [partial(put, slice(-1, None), m) for m in (mask, None)])


def _after(
    builder: Builder, rows: Rows, b: Value, b_step: Value, done: Value, steps: Value
) -> tuple[Rows, Value, Value]:
    """Both operands after ``done`` of the ``steps``, and the steps that are left."""
    moved = Rows(t.at(builder, rows.base, builder.mul(rows.step_stride, done)), rows.row_stride, rows.step_stride)
    return moved, t.at(builder, b, builder.mul(b_step, done)), builder.sub(steps, done)


@cache
def combine_call(lanes: int, elem: str) -> Any:
    """An intrinsic ``fn(rows, columns, c, c_row, source, source_row, kind, alpha, beta)``: C = alpha * C + beta *
    source in place, where kind is 0 (no source), ROW_VECTORS or ROW_ELEMENTS."""
    shape = TileShape(1, 1, lanes, elem)
    vec, size = shape.vec, shape.size

    def emit(
        builder: Builder, rows: Value, columns: Value, c: Value, c_row: Value, source: Value, source_row: Value,
        kind: Value, alpha: Value, beta: Value,
    ) -> None:  # fmt: skip
        vectors = builder.lshr(builder.add(columns, t.i64(lanes - 1)), t.i64(lanes.bit_length() - 1))
        c_row, source_row = t.scaled(builder, c_row, size), t.scaled(builder, source_row, size)
        factor, weight = splat(builder, alpha, lanes), splat(builder, beta, lanes)

        def rows_with(value_at: Any) -> None:
            def each_row(_: Value, places: Any) -> Any:
                to, start = places

                def each_vector(j: Value, __: Any) -> Any:
                    offset = builder.mul(j, t.i64(lanes * size))
                    mask = t.mask_of(builder, builder.sub(columns, builder.mul(j, t.i64(lanes))), lanes)
                    place = t.at(builder, to, offset)
                    value = builder.fmul(t.load(builder, vec, place, mask), factor)
                    t.store(builder, vec, value_at(value, start, offset, mask), place, mask)
                    return []

                t.loop(builder, vectors, [], each_vector)
                return t.at(builder, to, c_row), t.at(builder, start, source_row)

            t.loop(builder, rows, [t.pointer(builder, c), t.pointer(builder, source)], each_row)

        def vectors_added(value: Value, start: Value, offset: Value, mask: Value) -> Value:
            return t.multiply_add(builder, vec, weight, t.load(builder, vec, t.at(builder, start, offset), mask), value)

        def elements_added(value: Value, start: Value, _: Value, __: Value) -> Value:
            return t.multiply_add(builder, vec, weight, t.broadcast(builder, vec, start), value)

        bodies = [lambda value, *_: value, vectors_added, elements_added]
        t.choose(builder, kind, [partial(rows_with, body) for body in bodies])

    return t.emitted("combine", _COMBINE.replace("f32", elem), emit)
