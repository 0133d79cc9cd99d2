"""LSTM, GRU and RNN in float32.

The input is projected for all steps at once (``gates_project_f32``). Then each step multiplies the last hidden state by
the recurrent weights, panel by panel, and the gates of a panel are taken as soon as its sums are there. Weights are
read in order, in every second step from the last to the first: what a step read last is in the nearest cache when the
next one begins. Rows of a batch share each read. Work is shared by directions and rows: a row's steps stay in one
place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.recurrent_cells import (
    ACT_BYTES,
    compile_,
    gru_cell,
    gru_gates,
    gru_state,
    lstm_cell,
    rnn_cell,
    tiles_of,
)
from ronn_codegen.templates.recurrent_layout import cells_of

ROW_BLOCK = 60  # rows of x that share a panel of weights while both are in cache

_peek_i32, _peek_float, _poke_float = peek("i32"), peek("f32"), poke("f32")


@native("units_pack_f32(source, to, directions, sources, first, gates, hidden, k, units, panels, into, total, add)")
def units_pack_f32(target: Target) -> Callable[..., None]:
    """What ``pack_gates`` does, while a model runs: gates ``first`` on of source[directions, sources, hidden, k] go to
    gates ``into`` on of to[directions, panels, k, total, units]; ``add``: are added to what is there."""

    @njit(error_model="numpy", nogil=True)
    def run(
        source: Any, to: Any, directions: Any, sources: Any, first: Any, gates: Any, hidden: Any, k: Any, units: Any,
        panels: Any, into: Any, total: Any, add: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        parts = directions * panels
        for part in range(parts * worker // workers, parts * (worker + 1) // workers):
            d, panel = part // panels, part % panels
            for gate in range(gates):
                for unit in range(units):
                    number = panel * units + unit
                    row = ((d * sources + first + gate) * hidden + number) * k
                    place = (part * k * total + into + gate) * units + unit
                    for i in range(k):
                        value = _peek_float(source, row + i) if number < hidden else np.float32(0)
                        if add:
                            value += _peek_float(to, place + i * total * units)
                        _poke_float(to, place + i * total * units, value)

    return run


@native("gates_project_f32(x, rows, inputs, w, bias, gates, directions, panels, to)")
def gates_project_f32(target: Target) -> Callable[..., None]:
    """to[directions, rows, panels, gates, units] = x[rows, inputs] @ w + bias, packed for so many gates (4, 3 or 1)."""
    four, three, one = (cells_of(target, gates) for gates in (4, 3, 1))
    tiles_4, tiles_3, tiles_1 = tiles_of(four), tiles_of(three), tiles_of(one)
    width_4, width_3, width_1 = (4 * c.gates * c.units for c in (four, three, one))

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, rows: Any, inputs: Any, w: Any, bias: Any, gates: Any, directions: Any, panels: Any, to: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        width = width_4 if gates == 4 else width_3 if gates == 3 else width_1
        out_row = panels * width
        parts = directions * panels
        first, last, p0, p1 = 0, rows, 0, parts
        if rows >= 4 * workers:
            first, last = rows * worker // workers, rows * (worker + 1) // workers
        else:
            p0, p1 = parts * worker // workers, parts * (worker + 1) // workers
        a_row = 4 * inputs
        for row in range(first, last, ROW_BLOCK):
            count = min(ROW_BLOCK, last - row)
            for part in range(p0, p1):
                d, panel = part // panels, part % panels
                a, b, start = x + row * a_row, w + part * inputs * width, bias + part * width
                out = to + (d * rows + row) * out_row + panel * width
                if gates == 4:
                    tiles_4(count, inputs, a, a_row, b, start, 0, out, out_row, 0)
                elif gates == 3:
                    tiles_3(count, inputs, a, a_row, b, start, 0, out, out_row, 0)
                else:
                    tiles_1(count, inputs, a, a_row, b, start, 0, out, out_row, 0)

    return run


@compile_
def _own(d: Any, directions: Any, batch: Any, worker: Any, workers: Any) -> Any:
    """The first row of direction ``d`` that is in a worker's share, and how many are."""
    total = directions * batch
    first = max(total * worker // workers - d * batch, 0)
    return first, min(total * (worker + 1) // workers - d * batch, batch) - first


@cache
def _rows(lanes: int) -> tuple[Any, Any]:
    """``begin(h, width, rows, initial, apart, hidden)``: states [rows, width] from initial (0: zeros), whose rows are
    ``apart``; ``end(h, width, rows, to, apart, hidden)``: back. ``width`` is a multiple of the lanes."""
    vector = VectorType("f32", lanes)
    load, store, load_first, store_first, splat = (
        vector.load, vector.store, vector.load_first, vector.store_first, vector.splat
    )  # fmt: skip
    zero = np.float32(0)

    @compile_
    def begin(h: Any, width: Any, rows: Any, initial: Any, apart: Any, hidden: Any) -> None:
        for row in range(rows):
            for c in range(0, width, lanes):
                v = splat(zero)
                if initial != 0:
                    v = load_first(initial, row * apart + c, hidden - c)
                store(h, row * width + c, v)

    @compile_
    def end(h: Any, width: Any, rows: Any, to: Any, apart: Any, hidden: Any) -> None:
        for row in range(rows):
            for c in range(0, hidden, lanes):
                store_first(to, row * apart + c, load(h, row * width + c), hidden - c)

    return begin, end


@cache
def _settle(lanes: int) -> Any:
    """``fn(rows, hidden, width, t, lengths, last, now, y, at, y_b)``: a step's states ``now`` to the output y (0: none)
    from element ``at`` on; rows that have ended keep their ``last`` state and put out zeros."""
    vector = VectorType("f32", lanes)
    load, store, store_first, splat = vector.load, vector.store, vector.store_first, vector.splat
    zero = np.float32(0)

    @compile_
    def settle(
        rows: Any, hidden: Any, width: Any, t: Any, lengths: Any, last: Any, now: Any, y: Any, at: Any, y_b: Any
    ) -> None:
        for row in range(rows):
            alive = lengths == 0 or t < _peek_i32(lengths, row)
            for c in range(0, hidden, lanes):
                v = load(now, row * width + c)
                if not alive:
                    store(now, row * width + c, load(last, row * width + c))
                    v = splat(zero)
                if y != 0:
                    store_first(y, at + row * y_b + c, v, hidden - c)

    return settle


_COMMON = (
    "x, steps, batch, directions, backwards, hidden, panels, r, bias, acts, clip: f32, plain, lengths, x_t, x_b,"
    " h0, y, y_t, y_d, y_b, yh, s_d, s_b, scratch, apart"
)
"""Parameters of the recurrent kernels: x, the projected input [directions, steps * batch, panels, gates, units], whose
steps and rows are x_t and x_b elements apart; backwards, a bit for each direction that runs so; r, packed; acts,
[directions, functions] of (number of ``ACTIVATIONS``, alpha, beta) in eight bytes each; clip, the bound; plain: the
default activations and no bound; lengths (int32, 0: none); h0 (0: zeros), y (0: not wanted), yh and their strides in
elements; scratch: ``scratch_bytes`` a worker, ``apart`` bytes from each other."""


@native(
    "lstm_f32(x, steps, batch, directions, backwards, hidden, panels, r, bias, acts, clip: f32, plain, lengths, x_t,"
    " x_b, h0, y, y_t, y_d, y_b, yh, s_d, s_b, scratch, apart, peephole, coupled, c0, yc)"
)
def lstm_f32(target: Target) -> Callable[..., None]:
    """LSTM: parameters as ``_COMMON`` (bias unused), then the packed peepholes or 0, whether input and forget gate are
    coupled, the initial cell or 0, and where the last cell goes or 0."""
    cells = cells_of(target, 4)
    tiles, plain_cell, any_cell = tiles_of(cells), lstm_cell(cells, True), lstm_cell(cells, False)
    (begin, end), settle = _rows(cells.lanes), _settle(cells.lanes)
    units, gates = cells.units, 4 * cells.units

    @compile_
    def step(
        rows: Any, hidden: Any, panels: Any, r: Any, x: Any, x_b: Any, last: Any, now: Any, cell: Any, sums: Any,
        acts: Any, clip: Any, plain: Any, peephole: Any, coupled: Any, back: Any,
    ) -> None:  # fmt: skip
        width = panels * units
        for i in range(panels):
            panel = panels - 1 - i if back else i
            own = x + 4 * gates * panel
            tiles(rows, hidden, last, 4 * width, r + 4 * hidden * gates * panel, own, 4 * x_b, sums, 4 * gates, back)
            looks = 0 if peephole == 0 else peephole + 4 * 3 * units * panel
            for row in range(rows):
                place = 4 * (row * width + panel * units)
                if plain:
                    plain_cell(sums + 4 * gates * row, cell + place, now + place, looks, coupled, acts, clip)
                else:
                    any_cell(sums + 4 * gates * row, cell + place, now + place, looks, coupled, acts, clip)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, steps: Any, batch: Any, directions: Any, backwards: Any, hidden: Any, panels: Any, r: Any, bias: Any,
        acts: Any, clip: Any, plain: Any, lengths: Any, x_t: Any, x_b: Any, h0: Any, y: Any, y_t: Any, y_d: Any,
        y_b: Any, yh: Any, s_d: Any, s_b: Any, scratch: Any, apart: Any, peephole: Any, coupled: Any, c0: Any, yc: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        width = panels * units
        for d in range(directions):
            b0, rows = _own(d, directions, batch, worker, workers)
            if rows <= 0:
                continue
            last = scratch + apart * worker
            now = last + 4 * rows * width
            cell = now + 4 * rows * width
            kept = cell + 4 * rows * width
            sums = kept + 4 * rows * width
            state = 4 * (d * s_d + b0 * s_b)
            begin(last, width, rows, 0 if h0 == 0 else h0 + state, s_b, hidden)
            begin(cell, width, rows, 0 if c0 == 0 else c0 + state, s_b, hidden)
            ends = 0 if lengths == 0 else lengths + 4 * b0
            for i in range(steps):
                t = steps - 1 - i if backwards >> d & 1 else i
                if ends != 0:
                    end(cell, width, rows, kept, width, width)
                step(
                    rows, hidden, panels, r + 4 * d * panels * hidden * gates,
                    x + 4 * (d * steps * batch * panels * gates + t * x_t + b0 * x_b), x_b, last, now, cell, sums,
                    acts + 3 * ACT_BYTES * d, clip, plain,
                    0 if peephole == 0 else peephole + 4 * d * panels * 3 * units, coupled, i & 1,
                )  # fmt: skip
                settle(rows, hidden, width, t, ends, last, now, y, t * y_t + d * y_d + b0 * y_b, y_b)
                if ends != 0:
                    settle(rows, hidden, width, t, ends, kept, cell, 0, 0, 0)
                last, now = now, last
            if yh != 0:
                end(last, width, rows, yh + state, s_b, hidden)
            if yc != 0:
                end(cell, width, rows, yc + state, s_b, hidden)

    return run


@native(
    "gru_f32(x, steps, batch, directions, backwards, hidden, panels, r, bias, acts, clip: f32, plain, lengths, x_t,"
    " x_b, h0, y, y_t, y_d, y_b, yh, s_d, s_b, scratch, apart, linear, r_h, panels_h)"
)
def gru_f32(target: Target) -> Callable[..., None]:
    """GRU: parameters as ``_COMMON``. ``linear``: r holds the three gates and bias [directions, panels, 3, units] what
    is added to their products (zeros and the recurrent bias of h). Else r holds z and r, and r_h (packed for one gate,
    ``panels_h`` panels) h, whose recurrent bias is bias[directions, panels_h, units]."""
    three, two, one = (cells_of(target, gates) for gates in (3, 2, 1))
    tiles_3, tiles_2, tiles_1 = tiles_of(three), tiles_of(two), tiles_of(one)
    plain_cell, any_cell = gru_cell(three, True), gru_cell(three, False)
    first_gates, new_state = gru_gates(two), gru_state(three)
    (begin, end), settle = _rows(three.lanes), _settle(three.lanes)
    units, gates, wide = three.units, 3 * three.units, one.units

    @compile_
    def step_linear(
        rows: Any, hidden: Any, panels: Any, width: Any, r: Any, bias: Any, x: Any, x_b: Any, last: Any, now: Any,
        sums: Any, acts: Any, clip: Any, plain: Any, back: Any,
    ) -> None:  # fmt: skip
        for i in range(panels):
            panel = panels - 1 - i if back else i
            part = 4 * gates * panel
            tiles_3(rows, hidden, last, 4 * width, r + hidden * part, bias + part, 0, sums, 4 * gates, back)
            for row in range(rows):
                place, own = 4 * (row * width + panel * units), x + 4 * row * x_b + part
                if plain:
                    plain_cell(own, sums + 4 * gates * row, last + place, now + place, acts, clip)
                else:
                    any_cell(own, sums + 4 * gates * row, last + place, now + place, acts, clip)

    @compile_
    def step_reset(
        rows: Any, hidden: Any, panels: Any, width: Any, r: Any, r_h: Any, panels_h: Any, bias: Any, x: Any, x_b: Any,
        last: Any, now: Any, z: Any, reset: Any, sums: Any, zeros: Any, acts: Any, clip: Any,
    ) -> None:  # fmt: skip
        for panel in range(panels):
            part = 4 * 2 * units * panel
            tiles_2(rows, hidden, last, 4 * width, r + hidden * part, zeros, 0, sums, 4 * 2 * units, 0)
            for row in range(rows):
                place, own = 4 * (row * width + panel * units), x + 4 * (row * x_b + gates * panel)
                first_gates(own, sums + 4 * 2 * units * row, last + place, z + place, reset + place, acts, clip)
        for panel in range(panels_h):  # the products may stand in ``now`` until the cells take them
            part = 4 * wide * panel
            tiles_1(rows, hidden, reset, 4 * width, r_h + hidden * part, bias + part, 0, now + part, 4 * width, 0)
        for panel in range(panels):
            for row in range(rows):
                place = 4 * (row * width + panel * units)
                own = x + 4 * (row * x_b + gates * panel + 2 * units)
                new_state(own, now + place, z + place, last + place, now + place, acts, clip)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, steps: Any, batch: Any, directions: Any, backwards: Any, hidden: Any, panels: Any, r: Any, bias: Any,
        acts: Any, clip: Any, plain: Any, lengths: Any, x_t: Any, x_b: Any, h0: Any, y: Any, y_t: Any, y_d: Any,
        y_b: Any, yh: Any, s_d: Any, s_b: Any, scratch: Any, apart: Any, linear: Any, r_h: Any, panels_h: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        width = panels_h * wide
        for d in range(directions):
            b0, rows = _own(d, directions, batch, worker, workers)
            if rows <= 0:
                continue
            last = scratch + apart * worker
            now = last + 4 * rows * width
            z = now + 4 * rows * width
            reset = z + 4 * rows * width
            zeros = reset + 4 * rows * width
            sums = zeros + 4 * 2 * units
            state = 4 * (d * s_d + b0 * s_b)
            begin(last, width, rows, 0 if h0 == 0 else h0 + state, s_b, hidden)
            begin(now, width, rows, 0, 0, hidden)
            begin(reset, width, rows, 0, 0, hidden)
            begin(zeros, 2 * units, 1, 0, 0, hidden)
            ends = 0 if lengths == 0 else lengths + 4 * b0
            weights = r + 4 * d * panels * hidden * (gates if linear else 2 * units)
            for i in range(steps):
                t = steps - 1 - i if backwards >> d & 1 else i
                own = x + 4 * (d * steps * batch * panels * gates + t * x_t + b0 * x_b)
                if linear:
                    step_linear(
                        rows, hidden, panels, width, weights, bias + 4 * d * panels * gates, own, x_b, last, now, sums,
                        acts + 2 * ACT_BYTES * d, clip, plain, i & 1,
                    )  # fmt: skip
                else:
                    step_reset(
                        rows, hidden, panels, width, weights, r_h + 4 * d * panels_h * hidden * wide, panels_h,
                        bias + 4 * d * panels_h * wide, own, x_b, last, now, z, reset, sums, zeros,
                        acts + 2 * ACT_BYTES * d, clip,
                    )  # fmt: skip
                settle(rows, hidden, width, t, ends, last, now, y, t * y_t + d * y_d + b0 * y_b, y_b)
                last, now = now, last
            if yh != 0:
                end(last, width, rows, yh + state, s_b, hidden)

    return run


@native(
    "rnn_f32(x, steps, batch, directions, backwards, hidden, panels, r, bias, acts, clip: f32, plain, lengths, x_t,"
    " x_b, h0, y, y_t, y_d, y_b, yh, s_d, s_b, scratch, apart)"
)
def rnn_f32(target: Target) -> Callable[..., None]:
    """RNN: parameters as ``_COMMON`` (bias unused)."""
    cells = cells_of(target, 1)
    tiles, cell = tiles_of(cells), rnn_cell(cells)
    (begin, end), settle = _rows(cells.lanes), _settle(cells.lanes)
    units = cells.units

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, steps: Any, batch: Any, directions: Any, backwards: Any, hidden: Any, panels: Any, r: Any, bias: Any,
        acts: Any, clip: Any, plain: Any, lengths: Any, x_t: Any, x_b: Any, h0: Any, y: Any, y_t: Any, y_d: Any,
        y_b: Any, yh: Any, s_d: Any, s_b: Any, scratch: Any, apart: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        width = panels * units
        for d in range(directions):
            b0, rows = _own(d, directions, batch, worker, workers)
            if rows <= 0:
                continue
            last = scratch + apart * worker
            now = last + 4 * rows * width
            state = 4 * (d * s_d + b0 * s_b)
            begin(last, width, rows, 0 if h0 == 0 else h0 + state, s_b, hidden)
            ends = 0 if lengths == 0 else lengths + 4 * b0
            for i in range(steps):
                t = steps - 1 - i if backwards >> d & 1 else i
                own = x + 4 * (d * steps * batch * width + t * x_t + b0 * x_b)
                for j in range(panels):
                    part = 4 * units * (panels - 1 - j if i & 1 else j)
                    weights = r + 4 * d * hidden * width + hidden * part
                    tiles(rows, hidden, last, 4 * width, weights, own + part, 4 * x_b, now + part, 4 * width, i & 1)
                    for row in range(rows):
                        place = now + 4 * row * width + part
                        cell(place, place, acts + ACT_BYTES * d, clip)
                settle(rows, hidden, width, t, ends, last, now, y, t * y_t + d * y_d + b0 * y_b, y_b)
                last, now = now, last
            if yh != 0:
                end(last, width, rows, yh + state, s_b, hidden)

    return run
