"""Rotary embeddings in float32: pairs of elements turned by angles that depend on the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target

_peek_float, _poke_float, _peek_int, _poke_int = peek("f32"), poke("f32"), peek("i64"), poke("i64")


@native(
    "rotary_f32(x, y, batch, heads, steps, size, s_b, s_h, s_s, cos, sin, c_b, c_s, positions, p_b, p_s, rows, width,"
    " interleaved, status)"
)
def rotary_f32(target: Target) -> Callable[..., None]:
    """y of x[batch, heads, steps, size], both with strides s_b, s_h, s_s in elements: the first ``width`` elements are
    turned, the others copied. Pairs are (i, i + width / 2), or (2 i, 2 i + 1) with ``interleaved``.

    cos and sin are rows of width / 2: those of batch b and step s lie at b c_b + s c_s elements, or, with positions
    (int64), at row positions[b p_b + s p_s] + s (1 - p_s), of ``rows``; status is set where there is no such row.
    """
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first = vector.load_first, vector.store_first

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def turn(x: Any, cos: Any, sin: Any, half: Any, interleaved: Any, y: Any) -> None:
        if interleaved:
            for i in range(half):
                a, b = _peek_float(x, 2 * i), _peek_float(x, 2 * i + 1)
                c, s = _peek_float(cos, i), _peek_float(sin, i)
                _poke_float(y, 2 * i, c * a - s * b)
                _poke_float(y, 2 * i + 1, s * a + c * b)
            return
        for i in range(0, half, lanes):
            left = half - i
            a, b = load_first(x, i, left), load_first(x, half + i, left)
            c, s = load_first(cos, i, left), load_first(sin, i, left)
            store_first(y, i, ops.sub(ops.mul(c, a), ops.mul(s, b)), left)
            store_first(y, half + i, ops.add(ops.mul(s, a), ops.mul(c, b)), left)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, y: Any, batch: Any, heads: Any, steps: Any, size: Any, s_b: Any, s_h: Any, s_s: Any, cos: Any, sin: Any,
        c_b: Any, c_s: Any, positions: Any, p_b: Any, p_s: Any, rows: Any, width: Any, interleaved: Any, status: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        half = width // 2
        total = batch * heads * steps
        for unit in range(total * worker // workers, total * (worker + 1) // workers):
            s, h, b = unit % steps, unit // steps % heads, unit // steps // heads
            at = b * c_b + s * c_s
            if positions != 0:
                row = _peek_int(positions, b * p_b + s * p_s) + s * (1 - p_s)
                if row < 0 or row >= rows:
                    _poke_int(status, 0, 1)
                    row = 0
                at = row * half
            place = 4 * (b * s_b + h * s_h + s * s_s)
            turn(x + place, cos + 4 * at, sin + 4 * at, half, interleaved, y + place)
            for i in range(width, size, lanes):
                store_first(y + place, i, load_first(x + place, i, size - i), size - i)

    return run
