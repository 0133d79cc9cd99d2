"""LSTM whose recurrent weights are bytes: each step brings the hidden state to bytes by its own range.

The projected input comes as float32 in the order of ``recurrent_layout``: ``[directions, steps * batch, panels,
4 gates, units]``; columns of the recurrent weights lie in the same order, packed as in ``int8_gemm``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.templates._int8_tile import panel
from ronn_codegen.templates.int8_pack import tile_of
from ronn_codegen.templates.quantize import byte_range, rounding
from ronn_codegen.templates.recurrent_cells import lstm_cell
from ronn_codegen.templates.recurrent_layout import cells_of

_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
_entry = njit(error_model="numpy", nogil=True)
_to_u8 = ops.convert("u8")


def _quantiser(lanes: int) -> Any:
    """``fn(x, y, n) -> (scale, zero)``: n floats, a multiple of the lanes, to bytes by their own range."""
    f32, u8 = VectorType("f32", lanes), VectorType("u8", lanes)
    load, splat, store, rounded = f32.load, f32.splat, u8.store, rounding(lanes)
    nothing = np.float32(0)

    @_jit
    def quantise(x: Any, y: Any, n: Any) -> Any:
        low, high = splat(nothing), splat(nothing)
        for i in range(0, n, lanes):
            v = load(x, i)
            low, high = ops.minimum(low, v), ops.maximum(high, v)
        scale, zero = byte_range(ops.reduce_min(low), ops.reduce_max(high))
        step, floor, ceiling = splat(scale), np.float32(-zero), np.float32(255 - zero)
        for i in range(0, n, lanes):
            store(y, i, _to_u8(rounded(load(x, i) / step, floor, ceiling, zero)))
        return scale, zero

    return quantise


@native(
    "int8_lstm(x, steps, batch, directions, backwards, hidden, panels, r0, r1, colsum0, colsum1, scale0, scale1, none,"
    " lengths, h0, c0, y, yh, yc, scratch, apart)"
)
def int8_lstm(target: Target) -> Callable[..., None]:
    """LSTM with the default activations. ``none``: zeros, as many as columns and rows of a tile; lengths, h0, c0, y, yh
    and yc may be 0. Outputs are [steps, directions, batch, hidden] and [directions, batch, hidden]. ``apart`` bytes of
    scratch a direction: two rows of states a row of the batch, their bytes, and the sums of one row."""
    cells, tile = cells_of(target, 4), tile_of(target)
    lanes, units, columns = cells.lanes, cells.units, tile.columns
    gates = 4 * units
    product, cell, quantise = panel(target, tile.vectors, "words"), lstm_cell(cells, True), _quantiser(lanes)
    f32 = VectorType("f32", lanes)
    load, store, load_first, store_first, splat = f32.load, f32.store, f32.load_first, f32.store_first, f32.splat
    length_at, nothing, infinite = peek("i32"), np.float32(0), np.float32(np.inf)

    @_jit
    def rows_in(to: Any, width: Any, rows: Any, source: Any, hidden: Any) -> None:
        for row in range(rows):
            for i in range(0, width, lanes):
                v = splat(nothing)
                if source != 0:
                    v = load_first(source, row * hidden + i, hidden - i)
                store(to, row * width + i, v)

    @_jit
    def rows_out(source: Any, width: Any, rows: Any, to: Any, hidden: Any) -> None:
        for row in range(rows):
            for i in range(0, hidden, lanes):
                store_first(to, row * hidden + i, load(source, row * width + i), hidden - i)

    @_entry
    def run(
        x: Any, steps: Any, batch: Any, directions: Any, backwards: Any, hidden: Any, panels: Any, r0: Any, r1: Any,
        colsum0: Any, colsum1: Any, scale0: Any, scale1: Any, none: Any, lengths: Any, h0: Any, c0: Any, y: Any,
        yh: Any, yc: Any, scratch: Any, apart: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        width, groups = panels * units, (hidden + 3) // 4
        n = panels * gates
        for d in range(directions * worker // workers, directions * (worker + 1) // workers):
            r, colsum, scale = (r0, colsum0, scale0) if d == 0 else (r1, colsum1, scale1)
            h = scratch + d * apart
            c = h + 4 * batch * width
            q = c + 4 * batch * width
            sums = q + (batch * width + 63) // 64 * 64
            state = 4 * d * batch * hidden
            rows_in(h, width, batch, h0 + state if h0 != 0 else 0, hidden)
            rows_in(c, width, batch, c0 + state if c0 != 0 else 0, hidden)
            for i in range(steps):
                t = steps - 1 - i if backwards >> d & 1 else i
                factor, zero = quantise(h, q, batch * width)
                for row in range(batch):
                    out = y + 4 * ((t * directions + d) * batch + row) * hidden
                    if lengths != 0 and t >= length_at(lengths, row):
                        if y != 0:
                            for j in range(0, hidden, lanes):
                                store_first(out, j, splat(nothing), hidden - j)
                        continue
                    own = x + 4 * ((d * steps + t) * batch + row) * n
                    for at in range(0, n, columns):
                        product(
                            q + row * width, none, 0, 1, r + groups * 4 * at, 1, 0, 1, 0, groups, sums + 4 * at, 0,
                            columns, none, colsum + 4 * at, zero, scale + 4 * at, factor, own + 4 * at, -infinite,
                            infinite, 0, none, 0,
                        )  # fmt: skip
                    for p in range(panels):
                        place = 4 * (row * width + p * units)
                        cell(sums + 4 * p * gates, c + place, h + place, 0, 0, 0, infinite)
                    if y != 0:
                        rows_out(h + 4 * row * width, width, 1, out, hidden)
            if yh != 0:
                rows_out(h, width, batch, yh + state, hidden)
            if yc != 0:
                rows_out(c, width, batch, yc + state, hidden)

    return run
