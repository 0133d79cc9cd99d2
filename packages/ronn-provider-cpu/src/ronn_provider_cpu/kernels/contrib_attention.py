"""Attention operators of com.microsoft. Inside, tensors are (N, heads, S, size)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, without
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._common import float_kernel, own
from ronn_provider_cpu.kernels.attention import grouped_matmul, merge_heads, rotate, split_heads
from ronn_provider_cpu.kernels.softmax import softmax_last

Array = np.ndarray
MS = "com.microsoft"
_HIDDEN = np.finfo(np.float32).min


def _mask_bias(mask: Array | None, n: int, steps: int, total: int, filler: float, dtype: Any) -> Array | None:
    """What a key mask adds to scores (N, heads, steps, total), in every layout that the operators take."""
    if mask is None:
        return None
    if mask.ndim == 1:  # one end per row, and perhaps one start per row behind them
        at = np.arange(total)
        keep = at < mask[:n, None]
        if mask.shape[0] == 2 * n:
            keep &= at >= mask[n : 2 * n, None]
        keep = keep[:, None, None]
    elif mask.ndim == 2:
        keep = mask.astype(np.bool_)[:, None, None]
    elif mask.ndim == 3:
        keep = mask.astype(np.bool_)[:, None]
    else:
        keep = mask.astype(np.bool_)[:, :, total - steps : total, :total]
    return np.where(keep, 0, filler).astype(dtype)


def _attend(
    q: Array, k: Array, v: Array, scale: float | None, causal: bool, *biases: Array | None
) -> tuple[Array, Array]:
    """(the merged heads of softmax(q k' scale + biases) v, the scores before the softmax)."""
    factor = scale if scale else 1 / math.sqrt(q.shape[-1])
    scores = grouped_matmul(q, k.swapaxes(-1, -2))
    scores *= scores.dtype.type(factor)
    for bias in biases:
        if bias is not None:
            scores = scores + bias
    if causal:
        steps, total = scores.shape[-2:]
        late = np.arange(total) > np.arange(steps)[:, None] + (total - steps)
        scores = np.where(late, scores.dtype.type(_HIDDEN), scores)
    return merge_heads(grouped_matmul(softmax_last(scores), v)), scores


@float_kernel("Attention", domain=MS, prepare=True, when=without("do_rotary", "past_present_share_buffer"))
def attention(
    ctx: KernelContext,
    *,
    num_heads: int,
    qkv_hidden_sizes: Any,
    scale: Any,
    unidirectional: Any,
    mask_filter_value: Any,
) -> Callable[..., Any]:
    def run(
        x: Array,
        weights: Array,
        bias: Array | None = None,
        mask: Array | None = None,
        past: Array | None = None,
        extra: Array | None = None,
        past_length: Array | None = None,
    ) -> Any:
        third = weights.shape[1] // 3
        widths = [third, third] if not qkv_hidden_sizes else [int(s) for s in qkv_hidden_sizes[:2]]
        projected = x @ weights
        if bias is not None:
            projected += bias
        q, k, v = (split_heads(p, num_heads) for p in np.split(projected, np.cumsum(widths), axis=2))
        if past is not None:
            k, v = np.concatenate([past[0], k], axis=2), np.concatenate([past[1], v], axis=2)
        masked = _mask_bias(mask, x.shape[0], q.shape[2], k.shape[2], mask_filter_value, x.dtype)
        y, _ = _attend(q, k, v, scale, is_set(unidirectional), masked, extra)
        return (y, np.stack([k, v])) if ctx.n_outputs > 1 and ctx.wanted[1] else y

    return run


@float_kernel("MultiHeadAttention", domain=MS, prepare=True)
def multi_head_attention(
    ctx: KernelContext, *, num_heads: int, mask_filter_value: Any, scale: Any, unidirectional: Any
) -> Callable[..., Any]:
    def run(
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        bias: Array | None = None,
        padding: Array | None = None,
        extra: Array | None = None,
        past_key: Array | None = None,
        past_value: Array | None = None,
        past_length: Array | None = None,
        indirection: Array | None = None,
    ) -> Any:
        q, k, v = _unpack(query, key, value, bias, num_heads)
        if past_key is not None and past_value is not None and (key is None or key.ndim != 4):
            k, v = np.concatenate([past_key, k], axis=2), np.concatenate([past_value, v], axis=2)
        masked = _mask_bias(padding, q.shape[0], q.shape[2], k.shape[2], mask_filter_value, q.dtype)
        y, scores = _attend(q, k, v, scale, is_set(unidirectional), masked, extra)
        if ctx.n_outputs == 1:
            return y
        return (y, own(k, query, key, value), own(v, query, key, value), scores)[: ctx.n_outputs]

    return run


def _unpack(
    query: Array, key: Array | None, value: Array | None, bias: Array | None, heads: int
) -> tuple[Array, Array, Array]:
    """Query, key and value per head from separate or packed inputs, biases added."""
    if query.ndim == 5:  # (N, S, heads, 3, size)
        q, k, v = (query[:, :, :, i].swapaxes(1, 2) for i in range(3))
    elif key is not None and key.ndim == 5:  # (N, S, heads, 2, size)
        q = split_heads(query, heads)
        k, v = (key[:, :, :, i].swapaxes(1, 2) for i in range(2))
    else:
        assert key is not None and value is not None
        q = split_heads(query, heads)
        k, v = (t if t.ndim == 4 else split_heads(t, heads) for t in (key, value))
    if bias is not None:
        widths = [heads * q.shape[-1], heads * (q.shape[-1] + k.shape[-1])]
        bq, bk, bv = (part.reshape(heads, 1, -1) for part in np.split(bias, widths))
        q = q + bq
        if key is None or key.ndim != 4:
            k, v = k + bk, v + bv
    return q, k, v


@float_kernel("RotaryEmbedding", domain=MS, when=without("is_packed_batching"))
def rotary_embedding(
    ctx: KernelContext,
    x: Array,
    position_ids: Array,
    cos_cache: Array,
    sin_cache: Array,
    *,
    interleaved: Any,
    num_heads: int,
    rotary_embedding_dim: int,
) -> Array:
    """x (N, S, hidden) or (N, heads, S, size); position_ids (1,), an offset, or (N, S)."""
    width = 2 * cos_cache.shape[1]
    if x.ndim == 4:
        heads = x.swapaxes(1, 2)
    else:
        size = x.shape[2] // num_heads if num_heads and rotary_embedding_dim else width
        heads = x.reshape(*x.shape[:2], -1, size)
    at = position_ids
    if position_ids.size == 1:
        at = position_ids.reshape(-1)[0] + np.arange(heads.shape[1])[None]
    out = rotate(heads, cos_cache[at][:, :, None], sin_cache[at][:, :, None], width, is_set(interleaved))
    return out.swapaxes(1, 2) if x.ndim == 4 else out.reshape(x.shape)
