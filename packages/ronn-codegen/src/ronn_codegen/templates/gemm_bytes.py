"""Products of float32 rows with narrow weights: C = activation(A @ (W * scale) + bias).

W is packed as a float32 B is (see ``gemm``), in bytes or as bfloat16, which has no scale. A block of ``kc`` rows of a
panel is made float32 in scratch that stays in a near cache while all rows of A pass over it: memory gives a quarter or
half of the bytes, and the products are those of the float32 weights to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.emit import BITS, I32, Builder, splat
from ronn_codegen.simd.modes import CLAMP
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.gemm_shape import ROW_VECTORS, tile_of
from ronn_codegen.templates.gemm_tile import CLAMPED, tile_call

_LINE = 64  # bytes of a line of the caches


@cache
def _widener(lanes: int, vectors: int, elem: str) -> Any:
    """``fn(w, scale, to, steps, columns)``: to[steps, columns] (float32) = w[steps, columns] * scale[columns], of 1 to
    ``vectors`` whole vectors of columns. w is int8, or bf16, which is not scaled."""
    floats, small, ints, size = Vec("f32", lanes), Vec(elem, lanes), Vec("i32", lanes), BITS[elem] // 8
    scaled = elem == "i8"

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
                        value = builder.fmul(value, factors[j])
                    else:
                        bits = builder.shl(builder.zext(given, ints.llvm), splat(builder, ir.Constant(I32, 16), lanes))
                        value = builder.bitcast(bits, floats.llvm)
                    t.store(builder, floats, value, t.at(builder, target, 4 * lanes * j))
                return [t.at(builder, source, size * lanes * count), t.at(builder, target, 4 * lanes * count)]

            t.loop(builder, steps, [t.pointer(builder, w), t.pointer(builder, to)], step)

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
    """What ``gemm.gemm_bytes_f32`` (``i8``) and ``gemm.gemm_halves_f32`` (``bf16``) run."""
    shape = tile_of(target)
    mr, nr, lanes, narrow = shape.rows, shape.columns, shape.lanes, shape.vectors // 2 * shape.lanes
    multiply, widen, finish = tile_call(shape, "f32"), _widener(lanes, shape.vectors, elem), activate(lanes)
    size = BITS[elem] // 8

    @njit(error_model="numpy", nogil=True)
    def run(
        m: int, n: int, k: int, kc: int, a: int, a_row: int, w: int, scale: int, c: int, c_row: int, source: int,
        source_kind: int, mode: int, p0: Any, p1: Any, room: int, apart: int, worker: int, workers: int,
    ) -> None:  # fmt: skip
        panels = (n + nr - 1) // nr
        room += apart * worker
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
                widen(w + size * (j * k + p * step), scale + 4 * j, room, steps, step)
                flags = (source_kind if p == 0 else ROW_VECTORS) | (clamped if done else 0)
                # What comes next is fetched from memory meanwhile, a part by each tile.
                ahead = w + size * (j * k + (p + steps) * step)
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
