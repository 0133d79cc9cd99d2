"""Layers that carry a state of fixed size from step to step, in float32: LinearAttention and CausalConvWithState."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.math import vector_math
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target


@native(
    "linear_attention_f32(q, k, v, past, decay, decays, beta, betas, y, state, batch, heads, kv_heads, steps, d_k, d_v,"
    " scale: f32)"
)
def linear_attention_f32(target: Target) -> Callable[..., None]:
    """y[batch, steps, heads * d_v] of q[batch, steps, heads * d_k], k and v (kv_heads, d_k and d_v), and the last state
    [batch, kv_heads, d_k, d_v], which begins as past (0: zeros).

    A step multiplies the state by exp(decay[batch, steps, kv_heads * decays]) (decay 0: not; decays: 1 or d_k), adds
    the outer product of k and v, and multiplies q and the scale by it. With beta[batch, steps, betas] (0: none; betas:
    1 or kv_heads) what is added is beta (v - k state). Columns of the state need nothing of each other: work is shared
    by heads and vectors of them.
    """
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first, splat, broadcast = vector.load_first, vector.store_first, vector.splat, vector.broadcast
    exp, zero = vector_math(lanes).exp, np.float32(0)

    @njit(error_model="numpy", nogil=True)
    def run(
        q: Any, k: Any, v: Any, past: Any, decay: Any, decays: Any, beta: Any, betas: Any, y: Any, state: Any,
        batch: Any, heads: Any, kv_heads: Any, steps: Any, d_k: Any, d_v: Any, scale: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        parts, share = (d_v + lanes - 1) // lanes, heads // kv_heads
        units = batch * kv_heads * parts
        for unit in range(units * worker // workers, units * (worker + 1) // workers):
            c, h, b = unit % parts * lanes, unit // parts % kv_heads, unit // parts // kv_heads
            left, place = d_v - c, (b * kv_heads + h) * d_k * d_v + c
            for i in range(d_k):
                begin = splat(zero)
                if past != 0:
                    begin = load_first(past, place + i * d_v, left)
                store_first(state, place + i * d_v, begin, left)
            for t in range(steps):
                step = b * steps + t
                key = (step * kv_heads + h) * d_k
                added = load_first(v, (step * kv_heads + h) * d_v + c, left)
                if decay != 0:
                    for i in range(d_k):
                        at = (step * kv_heads + h) * decays + (i if decays > 1 else 0)
                        kept = ops.mul(load_first(state, place + i * d_v, left), exp(broadcast(decay, at)))
                        store_first(state, place + i * d_v, kept, left)
                if beta != 0:
                    known = splat(zero)
                    for i in range(d_k):
                        known = ops.fma(broadcast(k, key + i), load_first(state, place + i * d_v, left), known)
                    rate = broadcast(beta, step * betas + (h if betas > 1 else 0))
                    added = ops.mul(rate, ops.sub(added, known))
                for i in range(d_k):
                    new = ops.fma(broadcast(k, key + i), added, load_first(state, place + i * d_v, left))
                    store_first(state, place + i * d_v, new, left)
                for j in range(share):
                    head = step * heads + h * share + j
                    total = splat(zero)
                    for i in range(d_k):
                        total = ops.fma(broadcast(q, head * d_k + i), load_first(state, place + i * d_v, left), total)
                    store_first(y, head * d_v + c, ops.mul(total, splat(scale)), left)

    return run


@native("causal_conv_f32(x, w, bias, past, y, state, batch, channels, steps, taps, swish, scratch, apart)")
def causal_conv_f32(target: Target) -> Callable[..., None]:
    """y[batch, channels, steps]: each channel of x convolved with its own w[channels, taps], behind the last taps - 1
    elements past[batch, channels, taps - 1] (0: zeros), plus bias[channels] (0: none), times the sigmoid of itself with
    ``swish``. state (0: not wanted): the last taps - 1 elements now. scratch: steps + taps elements and a vector a
    worker, ``apart`` bytes from each other. Work is shared by rows."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, load_first, store_first, splat, broadcast = (
        vector.load, vector.load_first, vector.store_first, vector.splat, vector.broadcast
    )  # fmt: skip
    sigmoid, zero = vector_math(lanes).sigmoid, np.float32(0)

    @njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)
    def copy(source: Any, to: Any, count: Any) -> None:
        for i in range(0, count, lanes):
            value = splat(zero)
            if source != 0:
                value = load_first(source, i, count - i)
            store_first(to, i, value, count - i)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, w: Any, bias: Any, past: Any, y: Any, state: Any, batch: Any, channels: Any, steps: Any, taps: Any,
        swish: Any, scratch: Any, apart: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        rows, held = batch * channels, taps - 1
        padded = scratch + apart * worker
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            channel = row % channels
            copy(0 if past == 0 else past + 4 * row * held, padded, held)
            copy(x + 4 * row * steps, padded + 4 * held, steps)
            for t in range(0, steps, lanes):
                total = splat(zero)
                if bias != 0:
                    total = broadcast(bias, channel)
                for j in range(taps):
                    total = ops.fma(broadcast(w, channel * taps + j), load(padded, t + j), total)
                if swish:
                    total = ops.mul(total, sigmoid(total))
                store_first(y, row * steps + t, total, steps - t)
            if state != 0:
                copy(padded + 4 * steps, state + 4 * row * held, held)

    return run
