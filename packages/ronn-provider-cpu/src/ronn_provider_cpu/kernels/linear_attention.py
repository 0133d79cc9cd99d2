"""LinearAttention and CausalConvWithState: layers that carry a state of fixed size from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._activations import swish
from ronn_provider_cpu.kernels._common import float_kernel
from ronn_provider_cpu.kernels.attention import merge_heads, split_heads
from ronn_provider_cpu.kernels.conv import add_bias, convolve

Array = np.ndarray
_FLOATS = "float16 bfloat16 float32"


@float_kernel("LinearAttention", variable="T", only=_FLOATS, prepare=True)
def linear_attention(
    ctx: KernelContext, *, kv_num_heads: int, q_num_heads: int, scale: Any, update_rule: Any
) -> Callable[..., Any]:
    gated = update_rule in ("gated", "gated_delta")
    delta = update_rule in ("delta", "gated_delta")
    share = q_num_heads // kv_num_heads

    def run(
        query: Array,
        key: Array,
        value: Array,
        past: Array | None = None,
        decay: Array | None = None,
        beta: Array | None = None,
    ) -> Any:
        q, k, v = split_heads(query, q_num_heads), split_heads(key, kv_num_heads), split_heads(value, kv_num_heads)
        n, _, steps, d_k = q.shape
        d_v = v.shape[-1]
        factor = np.float32(scale if scale else 1 / math.sqrt(d_k))
        state = np.zeros((n, kv_num_heads, d_k, d_v), np.float32)
        if past is not None:
            state += past.astype(np.float32)
        if gated:
            if decay is None:
                raise ValueError(f"update_rule {update_rule!r} needs the decay input")
            keep = np.exp(split_heads(decay, kv_num_heads))  # one per head, or one per key element
        if delta:
            if beta is None:
                raise ValueError(f"update_rule {update_rule!r} needs the beta input")
            rate = beta.transpose(0, 2, 1)[..., None]
        out = np.empty((n, q_num_heads, steps, d_v), np.float32)
        for t in range(steps):
            k_t, v_t = k[:, :, t], v[:, :, t]
            if gated:
                state = state * keep[:, :, t, :, None]
            if delta:
                v_t = rate[:, :, t] * (v_t - np.matmul(k_t[:, :, None], state)[:, :, 0])
            state = state + k_t[..., :, None] * v_t[..., None, :]
            q_t = q[:, :, t].reshape(n, kv_num_heads, share, d_k)
            out[:, :, t] = (factor * np.matmul(q_t, state)).reshape(n, q_num_heads, d_v)
        return (merge_heads(out), state)[: ctx.n_outputs] if ctx.n_outputs > 1 else merge_heads(out)

    return run


@float_kernel("CausalConvWithState", only=_FLOATS)
def causal_conv_with_state(
    ctx: KernelContext,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    past: Array | None = None,
    *,
    activation: Any,
) -> Any:
    n, channels, _ = x.shape
    held = weight.shape[2] - 1
    before = np.zeros((n, channels, held), x.dtype) if past is None else past
    padded = np.concatenate([before, x], axis=2)
    y = add_bias(convolve(padded, weight, channels, [1], [1], [(0, 0)]), bias)
    if activation in ("silu", "swish"):
        y = swish(y)
    return (y, padded[:, :, padded.shape[2] - held :]) if ctx.n_outputs > 1 else y
