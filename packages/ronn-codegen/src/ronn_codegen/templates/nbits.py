"""Products of float32 rows with block-quantised weights of 4 or 8 bits, which become float32 in registers.

Of each word of weights (see ``nbits_pack``) a vector holds one per column; value after value is shifted out, scaled
with ``scale * q + offset`` of its block, and multiplied with the element of every row of the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.emit import splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    mask_of,
    multiply_add,
    pointer,
    scaled,
    store,
)
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.nbits_pack import VECTORS, panel_columns

_I32 = ir.IntType(32)


def _tile(target: Target, bits: int, heights: tuple[int, ...]) -> Any:
    """The intrinsic (which, blocks, words, a, a_row, packed, bias, y, y_row, columns): ``heights[which]`` rows of one
    panel; ``words`` of a block, strides in bytes; only the first ``columns`` are stored."""
    lanes = target.lanes(32)
    floats, ints = Vec("f32", lanes), Vec("i32", lanes)
    across, per = 4 * lanes, 32 // bits

    def emit(
        b: Any, which: Any, blocks: Any, words: Any, a: Any, a_row: Any, packed: Any, bias: Any, y: Any, y_row: Any,
        columns: Any,
    ) -> None:  # fmt: skip
        def number(value: int) -> Any:
            return splat(b, ir.Constant(_I32, value), lanes)

        def rows_of(rows: int) -> None:
            starts = [at(b, pointer(b, a), scaled(b, a_row, i)) for i in range(rows)]
            begin = [load(b, floats, at(b, pointer(b, bias), v * across)) for v in range(VECTORS)]
            sums = [list(begin) for _ in range(rows)]

            def block(_: Any, carried: Any) -> Any:
                w, k, sums = carried
                scales = [load(b, floats, at(b, w, v * across)) for v in range(VECTORS)]
                offsets = [load(b, floats, at(b, w, (VECTORS + v) * across)) for v in range(VECTORS)]

                def word(_: Any, inner: Any) -> Any:
                    w, k, sums = inner
                    given = [load(b, ints, at(b, w, v * across)) for v in range(VECTORS)]
                    for i in range(per):
                        elements = [broadcast(b, floats, at(b, at(b, s, k), 4 * i)) for s in starts]
                        new: list[list[Any]] = [[] for _ in range(rows)]
                        for v in range(VECTORS):
                            q = given[v] if i == 0 else b.lshr(given[v], number(bits * i))
                            if i < per - 1:
                                q = b.and_(q, number((1 << bits) - 1))
                            real = multiply_add(b, floats, b.sitofp(q, floats.llvm), scales[v], offsets[v])
                            for r in range(rows):
                                new[r].append(multiply_add(b, floats, elements[r], real, sums[r][v]))
                        sums = new
                    return at(b, w, VECTORS * across), b.add(k, i64(4 * per)), sums

                return loop(b, words, [at(b, w, 2 * VECTORS * across), k, sums], word)

            sums = loop(b, blocks, [pointer(b, packed), i64(0), sums], block)[2]
            for r in range(rows):
                row = at(b, pointer(b, y), scaled(b, y_row, r))
                for v in range(VECTORS):
                    left = b.sub(columns, I64(v * lanes))
                    whole = b.icmp_signed(">=", left, I64(lanes))
                    place = at(b, row, v * across)
                    with b.if_else(whole) as (full, part):
                        with full:
                            store(b, floats, sums[r][v], place)
                        with part:
                            store(b, floats, sums[r][v], place, mask_of(b, left, lanes))

        choose(b, which, [partial(rows_of, rows) for rows in heights])

    return emitted(f"nbits{bits}_{target.name}", " ".join(["i64"] * 10), emit)


def _nbits(target: Target, bits: int) -> Callable[..., None]:
    heights = (1, 2, 4, 6) if target.registers >= 32 else (1, 2)
    tile, columns, most = _tile(target, bits, heights), panel_columns(target), heights[-1]
    per = 32 // bits
    many = most > 2

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, m: Any, blocks: Any, block: Any, n: Any, packed: Any, bias: Any, y: Any, a_row: Any, worker: Any,
        workers: Any,
    ) -> None:  # fmt: skip
        panels, units = (n + columns - 1) // columns, (m + most - 1) // most
        size = 4 * columns * blocks * (2 + block // per)
        for work in range(panels * units * worker // workers, panels * units * (worker + 1) // workers):
            p, row = work // units, work % units * most
            last = min(row + most, m)
            while row < last:
                left = last - row
                which, rows = 0, 1
                if many and left >= 6:
                    which, rows = 3, 6
                elif many and left >= 4:
                    which, rows = 2, 4
                elif left >= 2:
                    which, rows = 1, 2
                tile(
                    which, blocks, block // per, a + row * a_row, a_row, packed + p * size, bias + 4 * p * columns,
                    y + 4 * (row * n + p * columns), 4 * n, n - p * columns,
                )  # fmt: skip
                row += rows

    made: Callable[..., None] = run
    return made


@native("nbits4_f32(a, m, blocks, block, n, packed, bias, y, a_row)")
def nbits4_f32(target: Target) -> Callable[..., None]:
    """y[m, n] = a[m, blocks * block] @ weights + bias; ``a_row`` bytes between rows, bias padded to whole panels."""
    return _nbits(target, 4)


@native("nbits8_f32(a, m, blocks, block, n, packed, bias, y, a_row)")
def nbits8_f32(target: Target) -> Callable[..., None]:
    """As ``nbits4_f32`` with 8 bits."""
    return _nbits(target, 8)
