"""The cells of LSTM, GRU and RNN: sums of a few rows of a panel in registers, and what gates make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.simd import elementary
from ronn_codegen.simd.emit import splat
from ronn_codegen.simd.tile import (
    I64,
    at,
    broadcast,
    choose,
    emitted,
    i64,
    load,
    loop,
    multiply_add,
    pointer,
    scaled,
    store,
)
from ronn_codegen.simd.types import Vec
from ronn_codegen.simd.vectors import Vector, fma, largest, select, smallest
from ronn_codegen.templates.recurrent_layout import ACTIVATIONS, Cells

ACT_BYTES = 24  # bytes of an activation: its number, alpha, beta (the bits of float32 in 8 bytes each)


def compile_(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(function)


# --- products


def _sums(vectors: int, most: int, lanes: int) -> Any:
    """The intrinsic (rows, k, a, a_row, b, start, start_row, out, out_row, back): out = start + a[rows, k] @ b[k,
    columns], added up from the last step to the first with ``back``.

    ``rows`` <= ``most``; a_row, start_row and out_row are bytes between rows. In a step the elements of a are held and
    the vectors of b pass by, of which there are more.
    """
    vec, across = Vec("f32", lanes), 4 * lanes

    def emit(
        b: Any, rows: Any, k: Any, a: Any, a_row: Any, weights: Any, start: Any, start_row: Any, out: Any, out_row: Any,
        back: Any,
    ) -> None:  # fmt: skip
        turned = b.icmp_signed("!=", back, i64(0))
        skipped = b.select(turned, b.sub(k, i64(1)), i64(0))
        a_step, b_step = (b.select(turned, i64(-size), i64(size)) for size in (4, vectors * across))
        a, weights = (b.add(p, scaled(b, skipped, size)) for p, size in ((a, 4), (weights, vectors * across)))

        def emit_rows(count: int) -> None:
            begin, end, first = pointer(b, start), pointer(b, out), pointer(b, a)
            places = [scaled(b, a_row, i) for i in range(count)]
            tile = []
            for i in range(count):
                row = at(b, begin, scaled(b, start_row, i))
                tile.append([load(b, vec, at(b, row, j * across)) for j in range(vectors)])

            def step(_: Any, carried: Any) -> Any:
                x, w, sums = carried
                held = [broadcast(b, vec, at(b, x, place)) for place in places]
                new: list[list[Any]] = [[] for _ in range(count)]
                for j in range(vectors):
                    v = load(b, vec, at(b, w, j * across))
                    for i in range(count):
                        new[i].append(multiply_add(b, vec, held[i], v, sums[i][j]))
                return at(b, x, a_step), at(b, w, b_step), new

            tile = loop(b, k, [first, pointer(b, weights), tile], step)[2]
            for i in range(count):
                row = at(b, end, scaled(b, out_row, i))
                for j in range(vectors):
                    store(b, vec, tile[i][j], at(b, row, j * across))

        choose(b, b.sub(rows, i64(1)), [partial(emit_rows, i + 1) for i in range(most)])

    return emitted(f"gate_sums_{vectors}", " ".join(["i64"] * 10), emit)


@cache
def tiles_of(cells: Cells) -> Any:
    """(rows, k, a, a_row, b, start, start_row, out, out_row, back) for any number of rows."""
    most = cells.rows
    sums = _sums(cells.gates * cells.vectors, most, cells.lanes)

    @compile_
    def tiles(
        rows: Any, k: Any, a: Any, a_row: Any, b: Any, start: Any, start_row: Any, out: Any, out_row: Any, back: Any
    ) -> None:
        i = 0
        while i < rows:
            count = min(most, rows - i)
            sums(count, k, a + i * a_row, a_row, b, start + i * start_row, start_row, out + i * out_row, out_row, back)
            i += count

    return tiles


# --- activations


def _activate(b: Any, x: Vector, number: Any, alpha: Any, beta: Any) -> Vector:
    """A call of the function that applies activation ``number`` of ``ACTIVATIONS``."""
    vec = x.vec
    name = "ronn.activate"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(vec.llvm, [vec.llvm, I64, vec.llvm, vec.llvm]), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        value, code, first, second = function.args
        v, p, q = (Vector(inner, vec, w) for w in (value, first, second))
        end = function.append_basic_block("unknown")
        switch = inner.switch(code, end)
        for i, kind in enumerate(ACTIVATIONS):
            block = function.append_basic_block(kind)
            switch.add_case(i64(i), block)
            inner.position_at_end(block)
            inner.ret(_formula(kind, v, p, q).value)
        inner.position_at_end(end)
        inner.ret(value)
    return Vector(b, vec, b.call(function, [x.value, number, alpha, beta]))


def _formula(kind: str, x: Vector, alpha: Vector, beta: Vector) -> Vector:
    formulas: dict[str, Callable[[], Vector]] = {
        "sigmoid": lambda: elementary.sigmoid(x),
        "tanh": lambda: elementary.tanh(x),
        "relu": lambda: select(x < 0.0, 0.0, x),
        "hardsigmoid": lambda: smallest(1.0, largest(0.0, fma(x, alpha, beta))),
        "leakyrelu": lambda: select(x < 0.0, x * alpha, x),
        "thresholdedrelu": lambda: select(x <= alpha, 0.0, x),
        "scaledtanh": lambda: alpha * elementary.tanh(beta * x),
        "elu": lambda: select(x < 0.0, alpha * elementary.expm1(x), x),
        "softsign": lambda: x / (abs(x) + 1.0),
        "softplus": lambda: elementary.log1p(elementary.exp(-abs(x))) + largest(0.0, x),
        "affine": lambda: fma(x, alpha, beta),
    }
    return formulas[kind]()


class _Gates:
    """What the code of a cell shares: the activations in the table ``acts`` and the bound of what goes into them.

    ``plain`` code has the default activations and no bound.
    """

    def __init__(self, b: Any, vec: Vec, acts: Any, clip: Any, defaults: tuple[str, ...], plain: bool) -> None:
        self.b, self.vec, self.defaults, self.plain = b, vec, defaults, plain
        self.acts = pointer(b, acts)
        self.clip = clip

    def load(self, base: Any, offset: int) -> Vector:
        return Vector(self.b, self.vec, load(self.b, self.vec, at(self.b, base, offset)))

    def store(self, value: Vector, base: Any, offset: int) -> None:
        store(self.b, self.vec, value.value, at(self.b, base, offset))

    def bound(self, x: Vector) -> Vector:
        if self.plain:
            return x
        limit = self._splat(self.clip)
        high = select(limit < x, limit, x)
        return select(high < -limit, -limit, high)

    def act(self, index: int, x: Vector) -> Vector:
        """Activation ``index`` of x."""
        if self.plain:
            return elementary.FUNCTIONS[self.defaults[index]](x)
        place = at(self.b, self.acts, ACT_BYTES * index)
        number = self.b.load(place, typ=I64, align=8)
        alpha, beta = (broadcast(self.b, self.vec, at(self.b, place, offset)) for offset in (8, 16))
        return _activate(self.b, x, number, alpha, beta)

    def _splat(self, scalar: Any) -> Vector:
        return Vector(self.b, self.vec, splat(self.b, scalar, self.vec.lanes))


def _cell(name: str, params: str, cells: Cells, defaults: tuple[str, ...], body: Any, plain: bool) -> Any:
    """An intrinsic (*params, acts, clip) that runs ``body(gates, u, *arguments)`` for each vector of units."""
    # Two vectors at once: what an activation does waits for what it did before, and the other one fills the gaps.
    together = min(cells.vectors, 2)
    vec = Vec("f32", cells.lanes * together)

    def emit(b: Any, *arguments: Any) -> None:
        *own, acts, clip = arguments
        gates = _Gates(b, vec, acts, clip, defaults, plain)
        for u in range(0, cells.vectors, together):
            body(gates, 4 * cells.lanes * u, *own)

    return emitted(f"{name}_{'plain' if plain else 'any'}", f"{params} i64 f32", emit)


# --- cells: each takes one row of one panel


def lstm_cell(cells: Cells, plain: bool) -> Any:
    """(sums[4, units] of i, o, f, c; c[units], updated; h[units], written; peephole[3, units] or 0; coupled; ...)."""
    apart = 4 * cells.units

    def body(g: _Gates, u: int, sums: Any, state: Any, h: Any, peephole: Any, coupled: Any) -> None:
        b = g.b
        sums, state, h, weights = (pointer(b, address) for address in (sums, state, h, peephole))
        i, o, f, c = (g.load(sums, u + n * apart) for n in range(4))
        last = g.load(state, u)
        if not plain:
            looks = b.icmp_signed("!=", peephole, i64(0))
            # Without peepholes the sums stand in for their weights, and nothing comes of it.
            weights = b.select(looks, weights, sums)

        def peep(x: Vector, n: int, cell: Vector) -> Vector:
            if plain:
                return x
            looked = fma(g.load(weights, u + n * apart), cell, x)
            return Vector(b, g.vec, b.select(looks, looked.value, x.value))

        i = g.act(0, g.bound(peep(i, 0, last)))
        f = g.act(0, g.bound(peep(f, 2, last)))
        if not plain:
            f = Vector(b, g.vec, b.select(b.icmp_signed("!=", coupled, i64(0)), (1.0 - i).value, f.value))
        now = f * last + i * g.act(1, g.bound(c))
        o = g.act(0, g.bound(peep(o, 1, now)))
        g.store(now, state, u)
        g.store(o * g.act(2, now), h, u)

    return _cell("lstm_cell", "i64 i64 i64 i64 i64", cells, ("sigmoid", "tanh", "tanh"), body, plain)


def gru_cell(cells: Cells, plain: bool) -> Any:
    """The reset gate behind the product: (x[3, units] of z, r, h; sums[3, units]; last[units]; h[units]; ...)."""
    apart = 4 * cells.units

    def body(g: _Gates, u: int, x: Any, sums: Any, last: Any, h: Any) -> None:
        x, sums, last, h = (pointer(g.b, address) for address in (x, sums, last, h))
        z, r = (g.act(0, g.bound(g.load(x, u + n * apart) + g.load(sums, u + n * apart))) for n in range(2))
        new = g.act(1, g.bound(g.load(x, u + 2 * apart) + r * g.load(sums, u + 2 * apart)))
        g.store((1.0 - z) * new + z * g.load(last, u), h, u)

    return _cell("gru_cell", "i64 i64 i64 i64", cells, ("sigmoid", "tanh"), body, plain)


def gru_gates(cells: Cells) -> Any:
    """The reset gate before the product: (x[2, units] of z, r; sums[2, units]; last; z; r * last; ...)."""
    apart = 4 * cells.units

    def body(g: _Gates, u: int, x: Any, sums: Any, last: Any, z: Any, reset: Any) -> None:
        x, sums, last, z, reset = (pointer(g.b, address) for address in (x, sums, last, z, reset))
        gates = [g.act(0, g.bound(g.load(x, u + n * apart) + g.load(sums, u + n * apart))) for n in range(2)]
        g.store(gates[0], z, u)
        g.store(gates[1] * g.load(last, u), reset, u)

    return _cell("gru_gates", "i64 i64 i64 i64 i64", cells, ("sigmoid", "tanh"), body, False)


def gru_state(cells: Cells) -> Any:
    """What follows ``gru_gates``: (x[units], sums[units], z, last, h; ...)."""

    def body(g: _Gates, u: int, x: Any, sums: Any, z: Any, last: Any, h: Any) -> None:
        x, sums, z, last, h = (pointer(g.b, address) for address in (x, sums, z, last, h))
        new = g.act(1, g.bound(g.load(x, u) + g.load(sums, u)))
        gate = g.load(z, u)
        g.store((1.0 - gate) * new + gate * g.load(last, u), h, u)

    return _cell("gru_state", "i64 i64 i64 i64 i64", cells, ("sigmoid", "tanh"), body, False)


def rnn_cell(cells: Cells) -> Any:
    """(sums[units], h[units]; ...)."""

    def body(g: _Gates, u: int, sums: Any, h: Any) -> None:
        sums, h = (pointer(g.b, address) for address in (sums, h))
        g.store(g.act(0, g.bound(g.load(sums, u))), h, u)

    return _cell("rnn_cell", "i64 i64", cells, ("tanh",), body, False)
