"""Attention and RotaryEmbedding of ai.onnx, and FlexAttention without modifier subgraphs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.ir.types import DType
from ronn.provider.kernels import KernelContext
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._common import float_kernel, own, wide

Array = np.ndarray


def split_heads(x: Array, heads: int) -> Array:
    """(N, S, heads * D) -> (N, heads, S, D)."""
    n, s, width = x.shape
    return x.reshape(n, s, heads, width // heads if heads else 0).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """(N, heads, S, D) -> (N, S, heads * D)."""
    n, h, s, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, s, h * d)


def grouped_matmul(a: Array, b: Array) -> Array:
    """a (N, Hq, S, D) @ b (N, Hkv, D, T), every head of ``b`` shared by Hq / Hkv heads of ``a``."""
    n, hq = a.shape[:2]
    hkv = b.shape[1]
    if hq == hkv:
        return np.matmul(a, b)
    shared = a.reshape(n, hkv, hq // hkv, *a.shape[2:])
    return np.matmul(shared, b[:, :, None]).reshape(n, hq, a.shape[2], b.shape[-1])


def masked_softmax(scores: Array, dead: Array | None) -> Array:
    """Softmax over the last axis; rows that are all -inf, and those of ``dead``, become 0."""
    if scores.shape[-1] == 0:
        return scores
    top = scores.max(axis=-1, keepdims=True)
    y = scores - np.where(np.isneginf(top), scores.dtype.type(0), top)
    np.exp(y, out=y)
    total = y.sum(axis=-1, keepdims=True)
    y /= np.where(total == 0, scores.dtype.type(1), total)
    return y if dead is None else np.where(dead, scores.dtype.type(0), y)


def _bias(
    q_len: int,
    kv_len: int,
    dtype: np.dtype,
    mask: Array | None,
    causal: bool,
    left: int,
    right: int,
    offset: Any,
    nonpad: Array | None,
) -> Array | None:
    """What is added to the scores: mask, causal frontier, window and padding; None when nothing is."""
    none = dtype.type(-np.inf)
    bias: Array | None = None
    if mask is not None:
        missing = kv_len - mask.shape[-1]
        if missing > 0:
            widths = [(0, 0)] * (mask.ndim - 1) + [(0, missing)]
            mask = np.pad(mask, widths, constant_values=False if mask.dtype == np.bool_ else -np.inf)
        bias = np.where(mask, dtype.type(0), none) if mask.dtype == np.bool_ else mask.astype(dtype, copy=False)
    allowed: Array | None = None
    if causal or left >= 0 or right >= 0:
        position = np.arange(q_len)[:, None] + np.asarray(offset).reshape(-1, 1, 1, 1)
        key = np.arange(kv_len)
        allowed = np.ones((1, 1, q_len, kv_len), np.bool_)
        if causal:
            allowed = allowed & (key <= position)
        if left >= 0:
            allowed = allowed & (key >= position - left)
        if right >= 0:
            allowed = allowed & (key <= position + right)
    if nonpad is not None:
        real = np.arange(kv_len) < nonpad.reshape(-1, 1, 1, 1)
        allowed = real if allowed is None else allowed & real
    if allowed is not None:
        frontier = np.where(allowed, dtype.type(0), none)
        bias = frontier if bias is None else bias + frontier
    return bias


@float_kernel("Attention", variable="T1", prepare=True)
def attention(
    ctx: KernelContext,
    *,
    is_causal: Any,
    kv_num_heads: Any,
    left_window_size: Any,
    q_num_heads: Any,
    qk_matmul_output_mode: Any,
    right_window_size: Any,
    scale: Any,
    softcap: Any,
    softmax_precision: Any,
) -> Callable[..., Any]:
    mode = 0 if qk_matmul_output_mode is None else int(qk_matmul_output_mode)
    left = -1 if left_window_size is None else int(left_window_size)
    right = -1 if right_window_size is None else int(right_window_size)
    cap = 0.0 if softcap is None else float(softcap)
    soft_dtype = None if softmax_precision is None else DType.from_code(int(softmax_precision)).numpy

    def run(
        q: Array,
        k: Array,
        v: Array,
        mask: Array | None = None,
        past_key: Array | None = None,
        past_value: Array | None = None,
        nonpad: Array | None = None,
    ) -> Any:
        packed = q.ndim == 3
        given = (q, k, v)
        if packed:
            q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
        offset: Any = 0
        if past_key is not None and past_value is not None:
            offset = past_key.shape[2]
            k = np.concatenate((past_key, k), axis=2)
            v = np.concatenate((past_value, v), axis=2)
        elif nonpad is not None:
            offset = nonpad.reshape(-1) - q.shape[2]
        root = math.sqrt(1 / math.sqrt(q.shape[3]) if scale is None else scale) if scale is None or scale >= 0 else None
        if root is None:
            scores = grouped_matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
        else:
            scores = grouped_matmul(q * q.dtype.type(root), (k * k.dtype.type(root)).swapaxes(-1, -2))
        shown = scores
        if cap > 0:
            scores = np.tanh(scores / cap) * scores.dtype.type(cap)
        if mode == 1:
            shown = scores
        bias = _bias(q.shape[2], k.shape[2], q.dtype, mask, is_set(is_causal), left, right, offset, nonpad)
        dead: Array | None = None
        if bias is not None:
            scores = scores + bias
            dead = np.isneginf(bias.max(axis=-1, keepdims=True)) if bias.shape[-1] else None
        if mode == 2:
            shown = scores
        weights = masked_softmax(_soft(scores, soft_dtype), dead).astype(q.dtype, copy=False)
        if mode == 3:
            shown = weights
        y = grouped_matmul(weights, v)
        if packed:
            y = merge_heads(y)
        if ctx.n_outputs == 1:
            return y
        present = (own(t, *given) if ctx.wanted[i] else None for i, t in ((1, k), (2, v)) if i < ctx.n_outputs)
        return (y, *present, shown)[: ctx.n_outputs]

    return run


def _soft(scores: Array, dtype: np.dtype | None) -> Array:
    """Scores in the precision that the softmax is asked in, half types rounded and then widened."""
    if dtype is None or dtype == scores.dtype:
        return scores
    return np.asarray(wide(scores.astype(dtype)))


@float_kernel("RotaryEmbedding", variable="T", prepare=True)
def rotary_embedding(
    ctx: KernelContext, *, interleaved: Any, num_heads: Any, rotary_embedding_dim: Any
) -> Callable[..., Array]:
    def run(x: Array, cos: Array, sin: Array, positions: Array | None = None) -> Array:
        heads_first = x.ndim == 4
        y = x.transpose(0, 2, 1, 3) if heads_first else x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads)
        if positions is not None:
            cos, sin = cos[positions], sin[positions]
        out = rotate(y, cos[:, :, None], sin[:, :, None], int(rotary_embedding_dim or y.shape[3]), is_set(interleaved))
        return out.transpose(0, 2, 1, 3) if heads_first else out.reshape(x.shape)

    return run


def rotate(x: Array, cos: Array, sin: Array, width: int, interleaved: bool) -> Array:
    """Rotates the first ``width`` elements of the last axis in pairs; cos and sin are (..., width / 2)."""
    out = np.array(x)
    if interleaved:
        first, second = slice(0, width, 2), slice(1, width, 2)
    else:
        first, second = slice(0, width // 2), slice(width // 2, width)
    a, b = x[..., first], x[..., second]
    out[..., first] = cos * a - sin * b
    out[..., second] = sin * a + cos * b
    return out


def _no_subgraphs(node: Node) -> bool | str:
    return "FlexAttention with modifier subgraphs" if any(True for _ in node.subgraphs()) else True


@float_kernel("FlexAttention", domain="ai.onnx.preview", when=_no_subgraphs)
def flex_attention(ctx: KernelContext, q: Array, k: Array, v: Array, *, scale: Any, softmax_precision: Any) -> Array:
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = grouped_matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(factor)
    dtype = DType.from_code(int(softmax_precision)).numpy if softmax_precision else None
    return grouped_matmul(masked_softmax(_soft(scores, dtype), None).astype(q.dtype, copy=False), v)
