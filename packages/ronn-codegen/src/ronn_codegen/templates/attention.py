"""Scaled dot-product attention in float32, without the matrix of scores: softmax(q k' scale + mask) v.

A block of queries of one head passes over the keys block by block. Per block of keys: scores in register tiles from
packed keys, then per query the new maximum, exponentials and their sum (what was summed under an older maximum is
scaled down), then the products with the values, which are added up in scratch. Work is shared by blocks of queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.attention_layout import KEYS, MASK_ADDED, VALUES, blocks_of
from ronn_codegen.templates.attention_tiles import key_packing, products, softmax_row

_peek_int, _peek_float, _poke_float = peek("i64"), peek("f32"), poke("f32")
_ZERO, _ONE, _LEAST = np.float32(0), np.float32(1), np.float32(-np.inf)


def _compile(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(function)


def _rows(lanes: int) -> tuple[Any, Any, Any]:
    """Small loops over a row: scale it; copy it, filled up with zeros; divide it into an output."""
    vector = VectorType("f32", lanes)
    load, store, splat, load_first, store_first = (
        vector.load, vector.store, vector.splat, vector.load_first, vector.store_first
    )  # fmt: skip

    @_compile
    def scale_row(row: Any, width: Any, factor: Any) -> None:
        for c in range(0, width, lanes):
            store(row, c, ops.mul(load(row, c), splat(factor)))

    @_compile
    def copy_row(source: Any, size: Any, to: Any, width: Any) -> None:
        for c in range(0, width, lanes):
            store(to, c, load_first(source, c, size - c))

    @_compile
    def divide_row(row: Any, size: Any, total: Any, to: Any) -> None:
        inverse = splat(_ZERO if total == _ZERO else _ONE / total)
        for c in range(0, size, lanes):
            if size - c >= lanes:
                store(to, c, ops.mul(load(row, c), inverse))
            else:
                store_first(to, c, ops.mul(load(row, c), inverse), size - c)

    return scale_row, copy_row, divide_row


@native(
    "attention_f32(q, k, v, y, batch, heads, kv_heads, queries, keys, size, v_size, q_b, q_h, q_s, k_b, k_h, k_s, v_b,"
    " v_h, v_s, y_b, y_h, y_s, scale: f32, cap: f32, mask, kind, m_b, m_h, m_q, causal, offset, nonpad, block,"
    " scratch, apart)"
)
def attention_f32(target: Target) -> Callable[..., None]:
    """y[batch, heads, queries, v_size] of q[batch, heads, queries, size], k[batch, kv_heads, keys, size] and
    v[batch, kv_heads, keys, v_size]; strides (in elements) of batch, head and step, elements lie side by side.

    Each kv head serves heads / kv_heads heads. mask (kind ``MASK_ADDED``: float32, ``MASK_BOOLEAN``: bytes that keep)
    with its strides, 0 where it is the same for all. causal: query i sees keys up to i + offset; nonpad (int64
    [batch], or 0): keys that count, and offset is then nonpad - queries. Queries without a key give 0. block: queries
    at a time, scratch: ``scratch_bytes`` for that a worker, ``apart`` bytes from each other.
    """
    blocks = blocks_of(target)
    lanes, most, columns = blocks.lanes, blocks.rows, blocks.columns
    wide, narrow = products(blocks, blocks.vectors), products(blocks, 2)
    narrow_columns = 2 * lanes
    pack_keys, softmax = key_packing(blocks), softmax_row(lanes)
    scale_row, copy_row, divide_row = _rows(lanes)

    @_compile
    def score(rows: Any, q: Any, q_row: Any, count: Any, size: Any, packed: Any, scores: Any) -> None:
        """scores[rows, KEYS] of ``count`` packed keys."""
        panel = 4 * columns * ((size + lanes - 1) // lanes * lanes)
        for j in range(0, count, columns):
            b = packed + j // columns * panel
            for i in range(0, rows, most):
                to = scores + 4 * (i * KEYS + j)
                wide(min(most, rows - i), size, q + i * q_row, q_row, b, 4 * columns, to, 4 * KEYS, 0)

    @_compile
    def weigh(rows: Any, count: Any, scores: Any, v: Any, v_row: Any, width: Any, sums: Any, more: Any) -> None:
        """sums[rows, width] += scores @ values; a few values at a time, which stay in the first cache."""
        for first in range(0, count, VALUES):
            steps, again = min(VALUES, count - first), more + first
            j = 0
            while j < width:
                whole, right = width - j >= columns, v + first * v_row + 4 * j
                for i in range(0, rows, most):
                    part, left, to = min(most, rows - i), scores + 4 * (i * KEYS + first), sums + 4 * (i * width + j)
                    if whole:
                        wide(part, steps, left, 4 * KEYS, right, v_row, to, 4 * width, again)
                    else:
                        narrow(part, steps, left, 4 * KEYS, right, v_row, to, 4 * width, again)
                j += columns if whole else narrow_columns

    @njit(error_model="numpy", nogil=True)
    def run(
        q: Any, k: Any, v: Any, y: Any, batch: Any, heads: Any, kv_heads: Any, queries: Any, keys: Any, size: Any,
        v_size: Any, q_b: Any, q_h: Any, q_s: Any, k_b: Any, k_h: Any, k_s: Any, v_b: Any, v_h: Any, v_s: Any,
        y_b: Any, y_h: Any, y_s: Any, scale: Any, cap: Any, mask: Any, kind: Any, m_b: Any, m_h: Any, m_q: Any,
        causal: Any, offset: Any, nonpad: Any, block: Any, scratch: Any, apart: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        per_head = (queries + block - 1) // block
        units = batch * heads * per_head
        width = (v_size + narrow_columns - 1) // narrow_columns * narrow_columns
        mask_bytes = 4 if kind == MASK_ADDED else 1
        packed = scratch + apart * worker
        values = packed + 4 * KEYS * ((size + lanes - 1) // lanes * lanes)
        scores = values + 4 * KEYS * width
        sums = scores + 4 * block * KEYS
        states = sums + 4 * block * width
        ready = -1  # the kv head whose keys and values are packed, where one block holds them all
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            part, head, b = unit % per_head, unit // per_head % heads, unit // per_head // heads
            own, kv = head * kv_heads // heads, b * kv_heads + head * kv_heads // heads
            first = part * block
            rows = min(block, queries - first)
            real, shift = keys, offset
            if nonpad != 0:
                real = min(keys, max(_peek_int(nonpad, b), 0))
                shift = _peek_int(nonpad, b) - queries
            seen = min(real, max(first + rows + shift, 0)) if causal else real
            q_at = q + 4 * (b * q_b + head * q_h + first * q_s)
            for row in range(rows):
                _poke_float(states, 3 * row, _LEAST)
                _poke_float(states, 3 * row + 1, _ZERO)
            for start in range(0, seen, KEYS):
                count = min(KEYS, seen - start)
                v_at, v_row = v + 4 * (b * v_b + own * v_h + start * v_s), 4 * v_s
                if ready != kv or keys > KEYS or causal or nonpad != 0:
                    pack_keys(k + 4 * (b * k_b + own * k_h + start * k_s), 4 * k_s, count, size, packed)
                    if v_s != width:
                        for i in range(count):
                            copy_row(v_at + i * v_row, v_size, values + 4 * i * width, width)
                    ready = kv
                if v_s != width:
                    v_at, v_row = values, 4 * width
                score(rows, q_at, 4 * q_s, count, size, packed, scores)
                for row in range(rows):
                    visible = min(count, max(first + row + shift + 1 - start, 0)) if causal else count
                    own_scores, state = scores + 4 * row * KEYS, states + 12 * row
                    looked = mask + mask_bytes * (b * m_b + head * m_h + (first + row) * m_q + start)
                    softmax(own_scores, visible, scale, cap, looked, kind, state)
                    for c in range(visible, count):
                        _poke_float(own_scores, c, _ZERO)
                    if start > 0:
                        scale_row(sums + 4 * row * width, width, _peek_float(state, 2))
                weigh(rows, count, scores, v_at, v_row, width, sums, start)
            for row in range(rows):
                to = y + 4 * (b * y_b + head * y_h + (first + row) * y_s)
                total = _peek_float(states, 3 * row + 1) if seen > 0 else _ZERO
                if seen <= 0:
                    copy_row(q, 0, sums + 4 * row * width, width)
                divide_row(sums + 4 * row * width, v_size, total, to)

    return run


@native("rows_copy_f32(x, y, batch, heads, steps, size, x_b, x_h, x_s, y_b, y_h, y_s, bias, bias_h)")
def rows_copy_f32(target: Target) -> Callable[..., None]:
    """y = x + bias: rows of ``size`` elements side by side for each batch, head and step, at strides in elements; bias
    (0: none) is a row for each head, ``bias_h`` elements apart."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first = vector.load_first, vector.store_first

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, y: Any, batch: Any, heads: Any, steps: Any, size: Any, x_b: Any, x_h: Any, x_s: Any, y_b: Any, y_h: Any,
        y_s: Any, bias: Any, bias_h: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        total = batch * heads * steps
        for unit in range(total * worker // workers, total * (worker + 1) // workers):
            s, h, b = unit % steps, unit // steps % heads, unit // steps // heads
            source, to = x + 4 * (b * x_b + h * x_h + s * x_s), y + 4 * (b * y_b + h * y_h + s * y_s)
            for c in range(0, size, lanes):
                left = size - c
                value = load_first(source, c, left)
                if bias != 0:
                    value = ops.add(value, load_first(bias, h * bias_h + c, left))
                store_first(to, c, value, left)

    return run


@native("key_mask_f32(mask, y, count, filler: f32)")
def key_mask_f32(target: Target) -> Callable[..., None]:
    """y[count] (float32): 0 where mask (int32) is set, else ``filler``."""
    keeps = peek("i32")

    @njit(error_model="numpy", nogil=True)
    def run(mask: Any, y: Any, count: Any, filler: Any, worker: Any, workers: Any) -> None:
        for i in range(count * worker // workers, count * (worker + 1) // workers):
            _poke_float(y, i, _ZERO if keeps(mask, i) != 0 else filler)

    return run
