"""Early versions of operators whose meaning later changed: broadcasting by axis, flattened softmax ..."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider import KernelContext, kernel


def _like_axis(a: np.ndarray, b: np.ndarray, axis: int | None) -> np.ndarray:
    """``b`` with trailing axes of length 1, so that its first axis meets axis ``axis`` of ``a``."""
    if axis is None or b.ndim == 0:
        return b
    start = axis + a.ndim if axis < 0 else axis
    return b.reshape(b.shape + (1,) * max(a.ndim - start - b.ndim, 0))


def _truncated_div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind not in "iu":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)
    return quotient + ((a % b != 0) & ((a < 0) != (b < 0))).astype(a.dtype)


_BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _truncated_div, "Pow": np.power,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less,
}  # fmt: skip


@kernel("Add", until=6)
@kernel("Sub", until=6)
@kernel("Mul", until=6)
@kernel("Div", until=6)
@kernel("Pow", until=6)
@kernel("And", until=6)
@kernel("Or", until=6)
@kernel("Xor", until=6)
@kernel("Equal", until=6)
@kernel("Greater", until=6)
@kernel("Less", until=6)
def binary(ctx: KernelContext, a: np.ndarray, b: np.ndarray, *, axis: int | None, broadcast: int | None) -> np.ndarray:
    return _BINARY[ctx.node.op](a, _like_axis(a, b, axis))


@kernel("PRelu", until=6)
def prelu(ctx: KernelContext, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
    aligned = slope.reshape((-1,) + (1,) * (x.ndim - 2)) if slope.ndim == 1 and x.ndim > 2 else slope
    return np.where(x < 0, x * aligned, x).astype(x.dtype)


@kernel("Softmax", until=11)
@kernel("LogSoftmax", until=11)
@kernel("Hardmax", until=11)
def flattened_softmax(ctx: KernelContext, x: np.ndarray, *, axis: int) -> np.ndarray:
    at = axis + x.ndim if axis < 0 else axis
    rows = x.reshape(int(np.prod(x.shape[:at], dtype=np.int64)), -1) if x.size else x.reshape(0, 1)
    if ctx.node.op == "Hardmax":
        out = np.zeros_like(rows)
        if rows.size:
            out[np.arange(len(rows)), rows.argmax(axis=1)] = 1
        return out.reshape(x.shape)
    shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    out = shifted - np.log(total) if ctx.node.op == "LogSoftmax" else e / total
    return out.astype(x.dtype).reshape(x.shape)


@kernel("Scatter", since=9, until=11)
def scatter(ctx: KernelContext, data: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axis: int) -> np.ndarray:
    out = data.copy()
    at = np.where(indices < 0, indices + data.shape[axis], indices)
    grid: list[Any] = list(np.indices(at.shape))
    grid[axis % data.ndim] = at
    out[tuple(grid)] = updates
    return out


@kernel("Reshape", until=1)
def reshape(ctx: KernelContext, x: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
    return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(shape)])


@kernel("Tile", until=1)
def tile(ctx: KernelContext, x: np.ndarray, tiles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    repeats = [1] * x.ndim
    repeats[int(axis.reshape(()))] = int(tiles.reshape(()))
    return np.tile(x, repeats)


@kernel("Split", until=1)
def split(ctx: KernelContext, x: np.ndarray, sizes: np.ndarray | None = None, *, axis: int | None) -> Any:
    at = 0 if axis is None else axis
    given: Any = sizes if sizes is not None else ctx.attr("split")
    parts: Any = ctx.n_outputs if given is None else np.cumsum(np.asarray(given))[:-1]
    out = np.split(x, parts, axis=at)
    return out[0] if ctx.n_outputs == 1 else out


@kernel("Dropout", until=6)
def dropout(ctx: KernelContext, x: np.ndarray) -> Any:
    return x if ctx.n_outputs == 1 else (x, np.ones(x.shape, x.dtype))


@kernel("Cast", until=1)
def cast(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    return x.astype(ctx.dtype())


@kernel("BatchNormalization", until=7, when=lambda node: len(node.outputs) == 1)
def batch_normalization(
    ctx: KernelContext,
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    epsilon: float,
) -> np.ndarray:
    """Inference. With ``spatial=0`` the statistics have one value for each element, not for each channel."""
    shape = x.shape[1:] if not ctx.attr("spatial", 1) else (-1, *(1,) * (x.ndim - 2))
    s, b, m, v = (p.reshape(shape) for p in (scale, bias, mean, variance))
    return (s * (x - m) / np.sqrt(v + x.dtype.type(epsilon)) + b).astype(x.dtype)


@kernel("Upsample", until=1)
def upsample_2d(ctx: KernelContext, x: np.ndarray, *, height_scale: float, width_scale: float, mode: str) -> np.ndarray:
    return upsampled(x, (1.0, 1.0, height_scale, width_scale), mode)


@kernel("Upsample", since=7, until=7)
def upsample_attribute(ctx: KernelContext, x: np.ndarray, *, scales: Sequence[float], mode: str) -> np.ndarray:
    return upsampled(x, scales, mode)


@kernel("Upsample", since=9)
@kernel("Resize", since=10, until=10)
def upsample(ctx: KernelContext, x: np.ndarray, scales: np.ndarray, *, mode: str) -> np.ndarray:
    return upsampled(x, [float(s) for s in scales], mode)


def upsampled(x: np.ndarray, scales: Sequence[float], mode: str) -> np.ndarray:
    """Resizes along each axis with asymmetric coordinates (``in = out / scale``), nearest (floor) or linear.

    The output has ``floor(size * scale)`` elements along each axis.
    """
    linear = mode in ("linear", "bilinear")
    out = x
    for axis, scale in enumerate(scales):
        if scale == 1:
            continue
        size = x.shape[axis]
        # The factors arrive as float32: the position is found as in that precision.
        position = np.arange(int(np.floor(np.float32(size) * np.float32(scale)))) / np.float64(np.float32(scale))
        low = np.minimum(np.floor(position).astype(np.int64), size - 1)
        if not linear:
            out = np.take(out, low, axis)
            continue
        high = np.minimum(low + 1, size - 1)
        weight = np.where(position >= size - 1, 0, position - low)
        weight = weight.reshape((-1,) + (1,) * (x.ndim - axis - 1))
        out = np.take(out, low, axis) * (1 - weight) + np.take(out, high, axis) * weight
    return out.astype(x.dtype)
