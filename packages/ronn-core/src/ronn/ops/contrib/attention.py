"""Reference kernels: the attention operators. Inside, tensors are [batch, heads, steps, size] in float32."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.ops.contrib.dense import MS, softmax, wide
from ronn.ops.contrib.embed import rotate
from ronn.ops.contrib.integer import integer_product
from ronn.provider import KernelContext, kernel, without


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """[B, S, heads * size] -> [B, heads, S, size]"""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).swapaxes(1, 2)


def merge_heads(x: np.ndarray) -> np.ndarray:
    """[B, heads, S, size] -> [B, S, heads * size]"""
    moved = x.swapaxes(1, 2)
    return moved.reshape(moved.shape[0], moved.shape[1], -1)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float | None, bias: np.ndarray | None) -> np.ndarray:
    """softmax(q @ k.T * scale + bias) @ v"""
    factor = scale if scale else 1 / math.sqrt(q.shape[-1])
    scores = np.matmul(q, k.swapaxes(-1, -2)) * np.float32(factor)
    return np.matmul(softmax(scores if bias is None else scores + bias), v)


def mask_bias(mask: np.ndarray | None, batch: int, steps: int, total: int, filler: float) -> np.ndarray | None:
    """What to add to scores [batch, heads, steps, total] for a mask in any of the layouts that ``Attention`` takes."""
    if mask is None:
        return None
    if mask.ndim == 1:
        at = np.arange(total)[None]
        keep = at < mask[:batch, None]
        if mask.shape[0] == 2 * batch:
            keep &= at >= mask[batch:, None]
        keep = keep[:, None, None]
    elif mask.ndim == 2:
        keep = mask.astype(bool)[:, None, None]
    elif mask.ndim == 3:
        keep = mask.astype(bool)[:, None]
    else:
        keep = mask.astype(bool)[:, :, total - steps : total, :total]
    return np.where(keep, np.float32(0), np.float32(filler))


def causal_bias(steps: int, total: int, filler: float) -> np.ndarray:
    """What hides later positions from scores [..., steps, total], the last step being the last position."""
    late = np.arange(total)[None] > np.arange(steps)[:, None] + (total - steps)
    return np.where(late, np.float32(filler), np.float32(0))


def _sum(*parts: np.ndarray | None) -> np.ndarray | None:
    out: np.ndarray | None = None
    for part in parts:
        if part is not None:
            out = part if out is None else out + part
    return out


def _self_attention(
    ctx: KernelContext,
    projected: np.ndarray,
    widths: tuple[int, int, int],
    mask: np.ndarray | None,
    past: np.ndarray | None,
    extra: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    heads, filler = ctx.attr("num_heads"), ctx.attr("mask_filter_value", -10000.0)
    batch, steps = projected.shape[:2]
    q, k, v = (split_heads(part, heads) for part in np.split(projected, np.cumsum(widths)[:2], axis=2))
    if past is not None:
        k = np.concatenate([wide(past[0]), k], axis=2)
        v = np.concatenate([wide(past[1]), v], axis=2)
    total = k.shape[2]
    causal = causal_bias(steps, total, -3.0e38) if ctx.attr("unidirectional", 0) else None
    bias = _sum(mask_bias(mask, batch, steps, total, filler), causal, None if extra is None else wide(extra))
    out = merge_heads(attend(q, k, v, ctx.attr("scale"), bias))
    present = np.stack([k, v]) if k.shape == v.shape else np.zeros(0, np.float32)
    return out, present


@kernel("Attention", domain=MS, when=without("do_rotary", "past_present_share_buffer"))
def attention(
    ctx: KernelContext,
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    past: np.ndarray | None = None,
    extra: np.ndarray | None = None,
    past_length: np.ndarray | None = None,
    *,
    qkv_hidden_sizes: list[int] | None,
) -> Any:
    third = weights.shape[1] // 3
    widths = (third, third, third) if not qkv_hidden_sizes else (*qkv_hidden_sizes[:3],)
    projected = wide(x) @ wide(weights)
    if bias is not None:
        projected = projected + wide(bias)
    out, present = _self_attention(ctx, projected, widths, mask, past, extra)  # type: ignore[arg-type]
    return out.astype(x.dtype) if ctx.n_outputs == 1 else (out.astype(x.dtype), present.astype(x.dtype))


@kernel("QAttention", domain=MS, when=without("do_rotary", "past_present_share_buffer"))
def quantised_attention(
    ctx: KernelContext,
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    x_scale: np.ndarray,
    w_scale: np.ndarray,
    mask: np.ndarray | None = None,
    x_zero: np.ndarray | None = None,
    w_zero: np.ndarray | None = None,
    past: np.ndarray | None = None,
) -> Any:
    third = weights.shape[1] // 3
    total = integer_product(x, weights, 0 if x_zero is None else x_zero, 0 if w_zero is None else w_zero)
    projected = total.astype(np.float32) * (wide(x_scale) * wide(w_scale)) + wide(bias)
    out, present = _self_attention(ctx, projected, (third, third, third), mask, past, None)
    return out.astype(bias.dtype) if ctx.n_outputs == 1 else (out.astype(bias.dtype), present.astype(bias.dtype))


@kernel("MultiHeadAttention", domain=MS)
def multi_head_attention(
    ctx: KernelContext,
    query: np.ndarray,
    key: np.ndarray | None = None,
    value: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    padding: np.ndarray | None = None,
    extra: np.ndarray | None = None,
    past_key: np.ndarray | None = None,
    past_value: np.ndarray | None = None,
    past_length: np.ndarray | None = None,
    indirection: np.ndarray | None = None,
    *,
    num_heads: int,
    mask_filter_value: float,
    scale: float | None,
    unidirectional: int,
) -> Any:
    q, k, v = _query_key_value(query, key, value, bias, num_heads)
    if past_key is not None and past_value is not None and (key is None or key.ndim != 4):
        k, v = np.concatenate([wide(past_key), k], axis=2), np.concatenate([wide(past_value), v], axis=2)
    steps, total = q.shape[2], k.shape[2]
    causal = causal_bias(steps, total, -3.0e38) if unidirectional else None
    masked = mask_bias(padding, q.shape[0], steps, total, mask_filter_value)
    out = merge_heads(attend(q, k, v, scale, _sum(masked, causal, None if extra is None else wide(extra))))
    full = tuple(t.astype(query.dtype) for t in (out, k, v))
    return full[0] if ctx.n_outputs == 1 else full[: ctx.n_outputs]


def _query_key_value(
    query: np.ndarray, key: np.ndarray | None, value: np.ndarray | None, bias: np.ndarray | None, heads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if query.ndim == 5:  # packed [B, S, heads, 3, size]
        q, k, v = (wide(query[:, :, :, i]).swapaxes(1, 2) for i in range(3))
    elif key is not None and key.ndim == 5:  # packed [B, S, heads, 2, size]
        q = split_heads(wide(query), heads)
        k, v = (wide(key[:, :, :, i]).swapaxes(1, 2) for i in range(2))
    else:
        assert key is not None and value is not None
        q = split_heads(wide(query), heads)
        k, v = (wide(t) if t.ndim == 4 else split_heads(wide(t), heads) for t in (key, value))
    if bias is not None:
        qn, kn = heads * q.shape[-1], heads * k.shape[-1]
        parts = np.split(wide(bias), [qn, qn + kn])
        q = q + parts[0].reshape(1, heads, 1, -1)
        if key is None or key.ndim != 4:
            k, v = k + parts[1].reshape(1, heads, 1, -1), v + parts[2].reshape(1, heads, 1, -1)
    return q, k, v


@kernel("GroupQueryAttention", domain=MS, when=without("smooth_softmax"))
def group_query_attention(
    ctx: KernelContext,
    query: np.ndarray,
    key: np.ndarray | None,
    value: np.ndarray | None,
    past_key: np.ndarray | None,
    past_value: np.ndarray | None,
    last: np.ndarray,
    total_length: np.ndarray,
    cos: np.ndarray | None = None,
    sin: np.ndarray | None = None,
    position_ids: np.ndarray | None = None,
    extra: np.ndarray | None = None,
    sink: np.ndarray | None = None,
    *,
    num_heads: int,
    kv_num_heads: int,
    scale: float | None,
    do_rotary: int,
    rotary_interleaved: int,
    local_window_size: int,
    softcap: float,
) -> Any:
    """query [B, S, heads * size] (or packed with keys and values); ``last`` [B]: index of each row's last position."""
    batch, steps = query.shape[:2]
    if key is None or value is None:
        size = query.shape[2] // (num_heads + 2 * kv_num_heads)
        parts = np.split(wide(query), [num_heads * size, (num_heads + kv_num_heads) * size], axis=2)
    else:
        parts = [wide(query), wide(key), wide(value)]
    q, k, v = (split_heads(t, n) for t, n in zip(parts, (num_heads, kv_num_heads, kv_num_heads), strict=True))
    held = 0 if past_key is None else past_key.shape[2]
    length = max(int(total_length.reshape(-1)[0]), held)
    out = np.zeros((batch, steps, num_heads * q.shape[-1]), np.float32)
    present_key = np.zeros((batch, kv_num_heads, length, k.shape[-1]), np.float32)
    present_value = np.zeros((batch, kv_num_heads, length, v.shape[-1]), np.float32)
    for row in range(batch):
        total = int(last.reshape(-1)[row]) + 1
        # The first prompt may be padded on the right: then all of its steps are computed from position 0.
        before = max(total - steps, 0)
        at = before + np.arange(steps) if position_ids is None else position_ids[row]
        q_row, k_row = q[row], k[row]
        if do_rotary and cos is not None and sin is not None:
            angles = (wide(cos)[at], wide(sin)[at], bool(rotary_interleaved))
            q_row, k_row = rotate(q_row, *angles), rotate(k_row, *angles)
        if past_key is not None and past_value is not None and before:
            present_key[row, :, :before] = past_key[row, :, :before]
            present_value[row, :, :before] = past_value[row, :, :before]
        present_key[row, :, before : before + steps] = k_row
        present_value[row, :, before : before + steps] = v[row]
        seen = before + steps
        keys = np.repeat(present_key[row, :, :seen], num_heads // kv_num_heads, axis=0)
        values = np.repeat(present_value[row, :, :seen], num_heads // kv_num_heads, axis=0)
        scores = q_row @ keys.swapaxes(-1, -2) * np.float32(scale if scale else 1 / math.sqrt(q.shape[-1]))
        if softcap:
            scores = np.float32(softcap) * np.tanh(scores / np.float32(softcap))
        if extra is not None:
            scores = scores + wide(extra)[row % len(extra), :, :steps, :seen]
        distance = before + np.arange(steps)[:, None] - np.arange(seen)[None]
        hidden = distance < 0
        if local_window_size > 0:
            hidden |= distance >= local_window_size
        scores = np.where(hidden, np.float32(-np.inf), scores)
        if sink is not None:
            column = np.broadcast_to(wide(sink)[:, None, None], (*scores.shape[:2], 1))
            weights = softmax(np.concatenate([scores, column], axis=-1))[..., :-1]
        else:
            weights = softmax(scores)
        out[row] = (weights @ values).swapaxes(0, 1).reshape(steps, -1)
    full = tuple(t.astype(query.dtype) for t in (out, present_key, present_value))
    return full[0] if ctx.n_outputs == 1 else full[: ctx.n_outputs]
