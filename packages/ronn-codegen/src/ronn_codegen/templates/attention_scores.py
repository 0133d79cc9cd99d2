"""What attention rarely needs: masks of windows and frontiers written out, and the matrix of scores as an output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.math import vector_math
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.attention_layout import MASK_ADDED, MASK_BOOLEAN

_ZERO, _LEAST = np.float32(0), np.float32(-np.inf)
_peek_float, _poke_float, _peek_byte, _peek_int = peek("f32"), poke("f32"), peek("u8"), peek("i64")


@native(
    "attention_mask_f32(mask, kind, m_b, m_h, m_q, width, batch, heads, queries, keys, causal, left, right, offset,"
    " nonpad, y)"
)
def attention_mask_f32(target: Target) -> Callable[..., None]:
    """y[batch, heads, queries, keys]: what is added to scores. The mask (as for ``attention_f32``, for the first
    ``width`` keys; those behind count for nothing), the causal frontier at i + offset, the window from i + offset -
    left to i + offset + right (-1: open), and the number of real keys nonpad[batch] (0: all), which sets the offset."""

    @njit(error_model="numpy", nogil=True)
    def run(
        mask: Any, kind: Any, m_b: Any, m_h: Any, m_q: Any, width: Any, batch: Any, heads: Any, queries: Any, keys: Any,
        causal: Any, left: Any, right: Any, offset: Any, nonpad: Any, y: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        rows = batch * heads * queries
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            i, h, b = row % queries, row // queries % heads, row // queries // heads
            real, position = keys, i + offset
            if nonpad != 0:
                real = _peek_int(nonpad, b)
                position = i + real - queries
            first = max(0, position - left) if left >= 0 else 0
            last = min(real, position + right + 1) if right >= 0 else real
            last = min(last, position + 1) if causal else last
            last = min(last, width)
            at = b * m_b + h * m_h + i * m_q
            for j in range(keys):
                value = _ZERO if first <= j < last else _LEAST
                if value == _ZERO:
                    if kind == MASK_ADDED:
                        value = _peek_float(mask, at + j)
                    elif kind == MASK_BOOLEAN and _peek_byte(mask, at + j) == 0:
                        value = _LEAST
                _poke_float(y, row * keys + j, value)

    return run


@native(
    "attention_scores_f32(q, k, y, batch, heads, kv_heads, queries, keys, size, q_b, q_h, q_s, k_b, k_h, k_s,"
    " scale: f32, cap: f32, mask, m_b, m_h, m_q, mode)"
)
def attention_scores_f32(target: Target) -> Callable[..., None]:
    """y[batch, heads, queries, keys]: products times scale (mode 0), bounded by ``cap`` (1), with the mask (float32,
    0: none) added (2), and their softmax (3), where a row without a key is 0."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, splat = vector.load_first, vector.splat
    math = vector_math(lanes)
    exp, tanh = math.exp, math.tanh

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def product(a: Any, b: Any, size: Any) -> Any:
        total = splat(_ZERO)
        for c in range(0, size, lanes):
            total = ops.fma(load_first(a, c, size - c), load_first(b, c, size - c), total)
        return ops.reduce_add(total)

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def softmax(row: Any, keys: Any) -> None:
        top = _LEAST
        for j in range(keys):
            value = _peek_float(row, j)
            top = value if value > top or value != value else top
        base = _ZERO if top == _LEAST else top
        total = _ZERO
        for j in range(keys):
            e = ops.reduce_max(exp(splat(_peek_float(row, j) - base)))
            total += e
            _poke_float(row, j, e)
        for j in range(keys):
            _poke_float(row, j, _ZERO if total == _ZERO else _peek_float(row, j) / total)

    @njit(error_model="numpy", nogil=True)
    def run(
        q: Any, k: Any, y: Any, batch: Any, heads: Any, kv_heads: Any, queries: Any, keys: Any, size: Any, q_b: Any,
        q_h: Any, q_s: Any, k_b: Any, k_h: Any, k_s: Any, scale: Any, cap: Any, mask: Any, m_b: Any, m_h: Any, m_q: Any,
        mode: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        rows = batch * heads * queries
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            i, h, b = row % queries, row // queries % heads, row // queries // heads
            own, to = q + 4 * (b * q_b + h * q_h + i * q_s), y + 4 * row * keys
            key = k + 4 * (b * k_b + h * kv_heads // heads * k_h)
            for j in range(keys):
                value = product(own, key + 4 * j * k_s, size) * scale
                if mode > 0 and cap > _ZERO:
                    value = ops.reduce_max(tanh(splat(value / cap))) * cap
                if mode > 1 and mask != 0:
                    value += _peek_float(mask, b * m_b + h * m_h + i * m_q + j)
                _poke_float(to, j, value)
            if mode > 2:
                softmax(to, keys)

    return run
