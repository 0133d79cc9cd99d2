"""Operators of com.microsoft that optimisers make of biases, skips and normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._activations import swish
from ronn_provider_cpu.kernels._common import float_kernel
from ronn_provider_cpu.kernels.activation import gelu
from ronn_provider_cpu.kernels.normalization import normalize_trailing

Array = np.ndarray
MS = "com.microsoft"


@float_kernel("BiasAdd", domain=MS)
def bias_add(ctx: KernelContext, x: Array, bias: Array, skip: Array) -> Array:
    return x + bias + skip


@float_kernel("BiasSplitGelu", domain=MS)
def bias_split_gelu(ctx: KernelContext, x: Array, bias: Array) -> Array:
    value, gate = np.split(x + bias, 2, axis=-1)
    return value * gelu(gate)


def _take(ctx: KernelContext, *results: Any) -> Any:
    return results[: ctx.n_outputs] if ctx.n_outputs > 1 else results[0]


@float_kernel("SkipLayerNormalization", domain=MS)
def skip_layer_normalization(
    ctx: KernelContext,
    x: Array,
    skip: Array,
    gamma: Array,
    beta: Array | None = None,
    bias: Array | None = None,
    *,
    epsilon: float,
) -> Any:
    """Normalises x + skip (+ bias) over the last axis; the sum is an output too. ``skip`` may lack the batch axis."""
    total = x + skip
    if bias is not None:
        total += bias
    y, mean, inverse = normalize_trailing(total, -1, epsilon)
    y *= gamma
    if beta is not None:
        y += beta
    return _take(ctx, y, mean.astype(np.float32), inverse.astype(np.float32), total)


def _rms(x: Array, gamma: Array, epsilon: float, axis: int = -1) -> tuple[Array, Array]:
    axes = tuple(range(axis % x.ndim, x.ndim))
    inverse = 1 / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon))
    return x * inverse * gamma, inverse


@float_kernel("SkipSimplifiedLayerNormalization", domain=MS)
def skip_simplified_layer_normalization(
    ctx: KernelContext, x: Array, skip: Array, gamma: Array, bias: Array | None = None, *, epsilon: float
) -> Any:
    total = x + skip
    if bias is not None:
        total += bias
    y, inverse = _rms(total, gamma, epsilon)
    return _take(ctx, y, np.zeros_like(inverse, dtype=np.float32), inverse.astype(np.float32), total)


@float_kernel("SimplifiedLayerNormalization")
def simplified_layer_normalization(ctx: KernelContext, x: Array, scale: Array, *, axis: int, epsilon: float) -> Any:
    y, inverse = _rms(x, scale, epsilon, axis)
    return _take(ctx, y, inverse.astype(np.float32))


@float_kernel("EmbedLayerNormalization", variable="T", domain=MS)
def embed_layer_normalization(
    ctx: KernelContext,
    ids: Array,
    segments: Array | None,
    words: Array,
    positions: Array,
    kinds: Array | None,
    gamma: Array,
    beta: Array,
    mask: Array | None = None,
    position_ids: Array | None = None,
    *,
    epsilon: float,
) -> Any:
    """ids (N, S) -> (N, S, hidden); mask_index counts the ones of each mask row."""
    total = words[ids] + (positions[: ids.shape[1]] if position_ids is None else positions[position_ids])
    if kinds is not None and segments is not None:
        total = total + kinds[segments]
    y, _, _ = normalize_trailing(total, -1, epsilon)
    y *= gamma
    y += beta
    lengths = np.zeros(ids.shape[0], np.int32) if mask is None else mask.astype(np.bool_).sum(axis=1, dtype=np.int32)
    return _take(ctx, y, lengths, total)


@float_kernel("GroupNorm", domain=MS)
def group_norm(
    ctx: KernelContext,
    x: Array,
    gamma: Array,
    beta: Array,
    *,
    activation: int,
    channels_last: int,
    epsilon: float,
    groups: int,
) -> Array:
    v = np.moveaxis(x, -1, 1) if channels_last else x
    y = normalize_trailing(v.reshape(v.shape[0], groups, -1), 2, epsilon)[0].reshape(v.shape)
    shape = (-1, *(1,) * (v.ndim - 2))
    y = y * gamma.reshape(shape) + beta.reshape(shape)
    if activation == 1:
        y = swish(y)
    return np.moveaxis(y, 1, -1) if channels_last else y
