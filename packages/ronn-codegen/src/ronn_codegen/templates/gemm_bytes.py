"""Products of float32 rows with narrow weights: C = activation(A @ (W * scale) + bias).

W is packed as a float32 B is (see ``gemm``), in bytes, or as words of two bfloat16 neighbours along k (those of
``gemm_bf16``), which have no scale. A block of ``kc`` rows of a
panel is made float32 in scratch that stays in a near cache while all rows of A pass over it: memory gives a quarter or
half of the bytes, and the products are those of the float32 weights to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from numba import njit

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.dot import as_floats
from ronn_codegen.simd.emit import BITS, Builder
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.gemm_shape import ROW_VECTORS, tile_of
from ronn_codegen.templates.gemm_tile import CLAMPED, tile_call

_LINE = 64  # bytes of a line of the caches


@cache
def _widener(lanes: int, vectors: int, elem: str) -> Any:
    """``fn(w, scale, to, steps, columns)``: to[steps, columns] (float32) = w[steps, columns] * scale[columns], of 1 to
    ``vectors`` whole vectors of columns. w is int8 (``elem`` i8), or words of bfloat16 from rows 2i and 2i + 1 (i32),
    which are not scaled; then an even number of rows is written."""
    floats, small, ints, size = Vec("f32", lanes), Vec(elem, lanes), Vec("i32", lanes), BITS[elem] // 8
    scaled = elem == "i8"
    rows = 1 if scaled else 2  # of one row of w

    def emit(builder: Builder, w: t.Value, scale: t.Value, to: t.Value, steps: t.Value, columns: t.Value) -> None:
        def rows_of(count: int) -> None:
            start = t.pointer(builder, scale)
            factors = [t.load(builder, floats, t.at(builder, start, 4 * lanes * j)) for j in range(count) if scaled]

            def step(_: t.Value, places: t.Value) -> t.Value:
                source, target = places
                for j in range(count):
                    given = t.load(builder, small, t.at(builder, source, size * lanes * j))
                    if scaled:
                        value = builder.sitofp(builder.sext(given, ints.llvm), floats.llvm)
                        made = [builder.fmul(value, factors[j])]
                    else:
                        made = as_floats(builder, given, lanes)
                    for i, value in enumerate(made):
                        t.store(builder, floats, value, t.at(builder, target, 4 * lanes * (i * count + j)))
                return [t.at(builder, source, size * lanes * count), t.at(builder, target, 4 * lanes * rows * count)]

            given_rows = steps if scaled else builder.lshr(builder.add(steps, t.i64(1)), t.i64(1))
            t.loop(builder, given_rows, [t.pointer(builder, w), t.pointer(builder, to)], step)

        which = builder.sub(builder.sdiv(columns, t.i64(lanes)), t.i64(1))
        t.choose(builder, which, [partial(rows_of, i + 1) for i in range(vectors)])

    return t.emitted(f"widen_{elem}", "i64 i64 i64 i64 i64", emit)


def _fetch(builder: Builder, address: t.Value, size: t.Value) -> None:
    start = t.pointer(builder, address)

    def line(i: t.Value, carried: t.Value) -> t.Value:
        t.prefetch(builder, t.at(builder, start, t.scaled(builder, i, _LINE)), locality=2)
        return carried

    t.loop(builder, builder.sdiv(size, t.i64(_LINE)), [], line)


_fetch_bytes = t.emitted("fetch_bytes", "i64 i64", _fetch)


def narrow_product(target: Target, elem: str) -> Callable[..., None]:
    """What ``gemm.gemm_bytes_f32`` (``i8``) and ``gemm.gemm_halves_f32`` (``i32``: words) run."""
    shape = tile_of(target)
    mr, nr, lanes, narrow = shape.rows, shape.columns, shape.lanes, shape.vectors // 2 * shape.lanes
    multiply, widen, finish = tile_call(shape, "f32"), _widener(lanes, shape.vectors, elem), activate(lanes)
    size, even_rows = (1, False) if elem == "i8" else (2, True)  # bytes of an element

    @njit(error_model="numpy", nogil=True)
    def run(
        m: int, n: int, k: int, kc: int, a: int, a_row: int, w: int, scale: int, c: int, c_row: int, source: int,
        source_kind: int, mode: int, p0: Any, p1: Any, room: int, apart: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        panels = (n + nr - 1) // nr
        room += apart * worker
        deep = (k + 1) // 2 * 2 if even_rows else k
        clamped = CLAMPED if mode == CLAMP else 0
        for q in range(panels * worker // workers, panels * (worker + 1) // workers):
            j = q * nr
            columns = min(nr, n - j)
            step = (columns + lanes - 1) // lanes * lanes
            most = 2 * mr if columns <= narrow else mr
            tiles = (m + most - 1) // most
            even, odd = m // tiles, m % tiles  # the first tiles have a row more
            for p in range(0, k, kc):
                steps = min(kc, k - p)
                done = p + steps >= k
                widen(w + size * (j * deep + p * step), scale + 4 * j, room, steps, step)
                flags = (source_kind if p == 0 else ROW_VECTORS) | (clamped if done else 0)
                # What comes next is fetched from memory meanwhile, a part by each tile.
                ahead = w + size * (j * deep + (p + steps) * step)
                part = (size * kc * step // tiles + 127) // 64 * 64
                for tile in range(tiles):
                    _fetch_bytes(ahead + tile * part, part)
                    row = tile * even + min(tile, odd)
                    rows = even + (1 if tile < odd else 0)
                    to = c + 4 * (row * c_row + j)
                    multiply(
                        rows, columns, steps, 0, a + 4 * (row * a_row + p), a_row, 1, room, step, to, c_row,
                        to if p > 0 else source + 4 * j, c_row if p > 0 else 0, flags, 0, 0, p0, p1,
                    )  # fmt: skip
                    if done and mode != 0 and clamped == 0:
                        finish(mode, to, c_row, rows, columns, p0, p1)

    return run
