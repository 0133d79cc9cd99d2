"""Operators that ``onnx.reference`` does not implement, or fails on for some shapes."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ronn.provider import KernelContext, kernel


@kernel("GlobalLpPool")
def global_lp_pool(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """The Lp norm over all spatial axes, which are kept with length 1."""
    p = float(ctx.attr("p", 2))
    axes = tuple(range(2, x.ndim))
    wide = np.abs(x.astype(np.float64)) ** p
    return (wide.sum(axis=axes, keepdims=True) ** (1 / p)).astype(x.dtype)


@kernel("Shape", since=15)
def shape(ctx: KernelContext, x: np.ndarray, *, start: int, end: int | None) -> np.ndarray:
    """The dims from ``start`` to ``end``, both clamped to the rank."""
    return np.array(x.shape[slice(*slice(start, end).indices(x.ndim))], np.int64)


@kernel("MaxRoiPool")
def max_roi_pool(
    ctx: KernelContext, x: np.ndarray, rois: np.ndarray, *, pooled_shape: Sequence[int], spatial_scale: float
) -> np.ndarray:
    """x [N, C, H, W], rois [R, 5] (batch index, x1, y1, x2, y2) -> [R, C, *pooled_shape]."""
    high, wide = pooled_shape
    out = np.zeros((len(rois), x.shape[1], high, wide), x.dtype)
    for index, roi in enumerate(rois):
        image = x[int(roi[0])]
        # Halves round away from zero, as C's round does.
        x1, y1, x2, y2 = (int(np.floor(v * spatial_scale + 0.5)) for v in roi[1:].astype(np.float64))
        roi_h, roi_w = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for i in range(high):
            top = np.clip(y1 + int(np.floor(i * roi_h / high)), 0, image.shape[1])
            bottom = np.clip(y1 + int(np.ceil((i + 1) * roi_h / high)), 0, image.shape[1])
            for j in range(wide):
                left = np.clip(x1 + int(np.floor(j * roi_w / wide)), 0, image.shape[2])
                right = np.clip(x1 + int(np.ceil((j + 1) * roi_w / wide)), 0, image.shape[2])
                if bottom > top and right > left:
                    out[index, :, i, j] = image[:, top:bottom, left:right].max(axis=(1, 2))
    return out


@kernel("Multinomial", since=7)
def multinomial(ctx: KernelContext, x: np.ndarray, *, sample_size: int, seed: float | None) -> np.ndarray:
    """Unnormalised log-probabilities x [N, classes] -> class indices [N, sample_size]."""
    rng = np.random.default_rng(None if seed is None else abs(int(np.float32(seed).view(np.int32))))
    wide = x.astype(np.float64)
    p = np.exp(wide - wide.max(axis=1, keepdims=True))
    cumulative = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
    draws = rng.random((x.shape[0], sample_size))
    picked = (draws[:, :, None] >= cumulative[:, None, :]).sum(axis=2)
    return np.minimum(picked, x.shape[1] - 1).astype(ctx.dtype())


@kernel("Erf")
def erf(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """onnx.reference rounds to float32, of float64 inputs too."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype) if x.size else x


@kernel("Gelu", since=20)
def gelu(ctx: KernelContext, x: np.ndarray, *, approximate: str) -> np.ndarray:
    """In float64, for the function body rests on onnx.reference's Erf."""
    v = x.astype(np.float64)
    if approximate == "tanh":
        inner = np.tanh(np.sqrt(2 / np.pi) * (v + 0.044715 * v**3))
    else:
        inner = np.vectorize(math.erf, otypes=[np.float64])(v / np.sqrt(2.0)) if v.size else v
    return (0.5 * v * (1 + inner)).astype(x.dtype)


@kernel("Softsign")
def softsign(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """onnx.reference fails on a 0-d input."""
    return x / (1 + np.abs(x))


@kernel("Mean", since=8)
def mean(ctx: KernelContext, *inputs: np.ndarray) -> np.ndarray:
    """onnx.reference adds into the first input, which must then have the full shape."""
    total = functools.reduce(np.add, inputs)
    return (total / total.dtype.type(len(inputs))).astype(total.dtype)


@kernel("GatherElements", since=11)
def gather_elements(ctx: KernelContext, x: np.ndarray, indices: np.ndarray, *, axis: int) -> np.ndarray:
    """onnx.reference fails on axes of more than 32 elements."""
    size = x.shape[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise IndexError(f"indices must lie in [{-size}, {size - 1}]")
    grid: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    grid[axis % x.ndim] = np.where(indices < 0, indices + size, indices)
    return x[tuple(grid)]


@kernel("Flatten")
def flatten(ctx: KernelContext, x: np.ndarray, *, axis: int) -> np.ndarray:
    """onnx.reference fails on tensors without elements."""
    split = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))
