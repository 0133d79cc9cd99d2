"""Normalisations over channels, groups, trailing axes or a neighbourhood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_codegen.windows import is_set
from ronn_provider_cpu.kernels._common import float_kernel, wide


def _channels(v: np.ndarray, rank: int) -> np.ndarray:
    """A (C,) vector that broadcasts over (N, C, spatial...)."""
    return v.reshape(-1, *(1,) * (rank - 2)) if rank >= 2 else v


@float_kernel("BatchNormalization", variable="T", prepare=True)
def batch_normalization(
    ctx: KernelContext, *, epsilon: float, momentum: float, spatial: Any, training_mode: Any
) -> Callable[..., Any]:
    eps = 1e-5 if epsilon is None else float(epsilon)
    keep = 0.9 if momentum is None else float(momentum)
    # Up to opset 13 the further outputs are what asks for training.
    training = is_set(training_mode) if ctx.since >= 14 else any(ctx.wanted[1:])
    per_element = spatial is not None and not spatial

    def infer(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray) -> Any:
        factor = scale / np.sqrt(wide(var) + eps)
        offset = bias - wide(mean) * factor
        if not per_element:
            factor, offset = _channels(factor, x.ndim), _channels(offset, x.ndim)
        y = x * factor.astype(x.dtype, copy=False)
        y += offset.astype(x.dtype, copy=False)
        return (y, *(None,) * (ctx.n_outputs - 1)) if ctx.n_outputs > 1 else y

    def train(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, var: np.ndarray) -> Any:
        axes = 0 if per_element else (0, *range(2, x.ndim))
        now_mean, now_var = x.mean(axis=axes), x.var(axis=axes)
        y = infer(x, scale, bias, now_mean, now_var)
        y = y[0] if isinstance(y, tuple) else y
        results = [
            y,
            (mean * keep + now_mean * (1 - keep)).astype(mean.dtype),
            (var * keep + now_var * (1 - keep)).astype(var.dtype),
            now_mean,
            now_var,
        ]
        return tuple(results[: ctx.n_outputs]) if ctx.n_outputs > 1 else y

    if training:
        return train
    return infer


@float_kernel("InstanceNormalization")
def instance_normalization(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, epsilon: float
) -> np.ndarray:
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    var = np.square(centred).mean(axis=axes, keepdims=True)
    return centred / np.sqrt(var + x.dtype.type(epsilon)) * _channels(scale, x.ndim) + _channels(bias, x.ndim)


@float_kernel("LayerNormalization")
def layer_normalization(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None, *, axis: int, epsilon: float
) -> Any:
    y, mean, inverse = normalize_trailing(x, axis, epsilon)
    y *= scale
    if bias is not None:
        y += bias
    if ctx.n_outputs == 1:
        return y
    return (y, mean.astype(ctx.dtype(1), copy=False), inverse.astype(np.float32, copy=False))[: ctx.n_outputs]


def normalize_trailing(x: np.ndarray, axis: int, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x - mean) / sqrt(var + epsilon) over the axes from ``axis`` on; also the mean and 1 / sqrt(var + epsilon)."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    y = x - mean
    inverse = 1 / np.sqrt(np.square(y).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon))
    y *= inverse
    return y, mean, inverse


@float_kernel("RMSNormalization")
def rms_normalization(ctx: KernelContext, x: np.ndarray, scale: np.ndarray, *, axis: int, epsilon: float) -> np.ndarray:
    axes = tuple(range(axis % x.ndim, x.ndim))
    square = np.square(x).mean(axis=axes, keepdims=True)
    return (x / np.sqrt(square + x.dtype.type(epsilon)) * scale).astype(ctx.dtype(), copy=False)


@float_kernel("GroupNormalization")
def group_normalization(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, epsilon: float, num_groups: int
) -> np.ndarray:
    grouped = x.reshape(x.shape[0], num_groups, -1)
    y = grouped - grouped.mean(axis=2, keepdims=True)
    y /= np.sqrt(np.square(y).mean(axis=2, keepdims=True) + x.dtype.type(epsilon))
    if ctx.since < 21:  # one scale and bias per group
        return (y * scale[:, None] + bias[:, None]).reshape(x.shape)
    return y.reshape(x.shape) * _channels(scale, x.ndim) + _channels(bias, x.ndim)


@float_kernel("LpNormalization")
def lp_normalization(ctx: KernelContext, x: np.ndarray, *, axis: int, p: int) -> np.ndarray:
    if p == 1:
        norm = np.abs(x).sum(axis=axis, keepdims=True)
    else:
        norm = np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
    return np.where(norm == 0, x.dtype.type(0), x / np.where(norm == 0, x.dtype.type(1), norm))


@float_kernel("LRN")
def lrn(ctx: KernelContext, x: np.ndarray, *, alpha: float, beta: float, bias: float, size: int) -> np.ndarray:
    before = (size - 1) // 2
    c = x.shape[1]
    square = np.zeros((x.shape[0], c + size - 1, *x.shape[2:]), x.dtype)
    np.square(x, out=square[:, before : before + c])
    total = square[:, :c].copy()
    for k in range(1, size):
        total += square[:, k : k + c]
    base = total * x.dtype.type(alpha / size) + x.dtype.type(bias)
    return x / base ** x.dtype.type(beta)


@float_kernel("MeanVarianceNormalization")
def mean_variance_normalization(ctx: KernelContext, x: np.ndarray, *, axes: Any) -> np.ndarray:
    over = (0, 2, 3) if axes is None else tuple(int(a) for a in axes)
    centred = x - x.mean(axis=over, keepdims=True)
    return centred / (np.sqrt(np.square(centred).mean(axis=over, keepdims=True)) + x.dtype.type(1e-9))
