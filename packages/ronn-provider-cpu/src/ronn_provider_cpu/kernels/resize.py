"""Resize and Upsample: every axis is interpolated on its own, by gathering taps and weighting them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._common import float_kernel, is_set, own

Array = np.ndarray
_F = np.float32
_INTEGERS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool"


def places(mode: str, count: int, size: int, scale: float, start: float, end: float) -> Array:
    """Where each output position lies in the input, in float32 as the format's formulas give it."""
    x = np.arange(count, dtype=_F)
    step = _F(scale)
    length = float(scale) * size  # of the resized axis before it is cut to an integer
    if mode == "align_corners":
        return np.zeros(count, _F) if length == 1 or count == 1 else x * _F(size - 1) / _F(length - 1)
    if mode == "asymmetric":
        return x / step
    if mode == "tf_half_pixel_for_nn":
        return (x + _F(0.5)) / step
    if mode == "tf_crop_and_resize":
        if count > 1:
            return _F(start * (size - 1)) + x * _F((end - start) * (size - 1)) / _F(count - 1)
        return np.full(count, 0.5 * (start + end) * (size - 1), _F)
    if mode == "pytorch_half_pixel" and count == 1:
        return np.zeros(count, _F)
    y = (x + _F(0.5)) / step - _F(0.5)
    if mode == "half_pixel_symmetric":
        y = y + _F(size / 2 * (1 - count / length))
    return y


def nearest(x: Array, mode: str, shrinking: bool) -> Array:
    if mode == "round_prefer_floor":
        return np.ceil(x - _F(0.5))
    if mode == "round_prefer_ceil":
        return np.floor(x + _F(0.5))
    if mode == "floor":
        return np.floor(x)
    if mode == "ceil":
        return np.ceil(x)
    return np.ceil(x) if shrinking else np.floor(x)  # before opset 11


def _cubic(x: Array, a: float) -> Array:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def weighted_taps(
    x: Array, size: int, mode: str, scale: float, antialias: bool, cubic_a: float, exclude_outside: bool
) -> tuple[Array, Array]:
    """Input positions (count, taps) and their weights."""
    squeeze = min(scale, 1.0) if antialias else 1.0
    radius = 2 if mode == "cubic" else 1
    start = math.floor(-radius / squeeze) + 1
    offsets = np.arange(start, 2 - start)
    base = np.floor(x)
    at = base.astype(np.int64)[:, None] + offsets
    distance = (offsets - (x - base).astype(np.float64)[:, None]) * squeeze
    weights = _cubic(distance, cubic_a) if mode == "cubic" else np.clip(1 - np.abs(distance), 0, 1)
    if exclude_outside:
        weights = np.where((at < 0) | (at >= size), 0.0, weights)
    if antialias or exclude_outside:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(at, 0, size - 1), weights


def interpolate(x: Array, axis: int, at: Array, weights: Array) -> Array:
    """Weighted sum of the gathered taps along ``axis``."""
    shape = [1] * x.ndim
    shape[axis] = -1
    total: Array | None = None
    for k in range(at.shape[1]):
        weight = weights[:, k].astype(x.dtype)
        if not weight.any():
            continue
        term = np.take(x, at[:, k], axis=axis)
        if not (weight == 1).all():
            term *= weight.reshape(shape)
        total = term if total is None else np.add(total, term, out=total)
    return np.take(x, at[:, 0], axis=axis) * x.dtype.type(0) if total is None else total


class Settings:
    """The attributes of a Resize or Upsample node, with the defaults of its version."""

    def __init__(self, ctx: Any) -> None:
        """``ctx`` has a node, its schema version ``since``, and ``attr(name, default)``."""
        modern = ctx.node.op == "Resize" and ctx.since >= 11
        mode = ctx.attr("mode", "nearest")
        self.mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
        self.coordinates = ctx.attr("coordinate_transformation_mode", "half_pixel") if modern else "asymmetric"
        self.nearest = ctx.attr("nearest_mode", "round_prefer_floor") if modern else "simple"
        self.antialias = is_set(ctx.attr("antialias"))
        self.cubic_a = float(ctx.attr("cubic_coeff_a", -0.75))
        self.exclude_outside = is_set(ctx.attr("exclude_outside"))
        self.outside = float(ctx.attr("extrapolation_value", 0.0))
        self.policy = ctx.attr("keep_aspect_ratio_policy", "stretch")
        self.axes = ctx.attr("axes")


def output_sizes(
    shape: Sequence[int], axes: Sequence[int], sizes: Any, scales: Any, policy: str
) -> tuple[list[int], list[float]]:
    """Output size and scale of each of ``axes``."""
    if sizes is None:
        return [math.floor(shape[a] * float(s)) for a, s in zip(axes, scales, strict=True)], [float(s) for s in scales]
    counts = [int(s) for s in sizes]
    ratios = [c / shape[a] if shape[a] else 1.0 for a, c in zip(axes, counts, strict=True)]
    if policy != "stretch":
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        ratios = [ratio] * len(counts)
        counts = [math.floor(ratio * shape[a] + 0.5) for a in axes]
    return counts, ratios


def _resize(x: Array, settings: Settings, roi: Any, scales: Any, sizes: Any) -> Array:
    axes = list(range(x.ndim)) if settings.axes is None else [int(a) % x.ndim for a in settings.axes]
    counts, ratios = output_sizes(x.shape, axes, sizes, scales, settings.policy)
    crop = settings.coordinates == "tf_crop_and_resize"
    y = x
    outside: list[tuple[int, Array]] = []
    for i, (axis, count, scale) in enumerate(zip(axes, counts, ratios, strict=True)):
        size = x.shape[axis]
        start, end = (float(roi[i]), float(roi[len(axes) + i])) if crop else (0.0, 1.0)
        if count == size and scale == 1.0 and (start, end) == (0.0, 1.0):
            continue
        if count == 0 or y.size == 0:
            shape = list(y.shape)
            shape[axis] = count
            y = np.zeros(shape, y.dtype)
            continue
        source = places(settings.coordinates, count, size, scale, start, end)
        if crop:
            out = (source < 0) | (source > size - 1)
            if out.any():
                outside.append((axis, out))
        if settings.mode == "nearest":
            at = np.clip(nearest(source, settings.nearest, scale < 1), 0, size - 1).astype(np.int64)
            y = np.take(y, at, axis=axis)
        else:
            where, weights = weighted_taps(
                source, size, settings.mode, scale, settings.antialias, settings.cubic_a, settings.exclude_outside
            )
            y = interpolate(y, axis, where, weights)
    for axis, out in outside:
        index: list[Any] = [slice(None)] * y.ndim
        index[axis] = out
        y[tuple(index)] = settings.outside
    return own(y, x)


def _as_float(fn: Callable[..., Array], keep: bool) -> Callable[..., Array]:
    """For integers: interpolate in float32, then cut back to the type (saturating). Nearest needs neither."""
    if keep:
        return fn

    def run(x: Array, *rest: Any) -> Array:
        y = fn(x.astype(np.float32), *rest)
        if x.dtype == np.bool_:
            return y.astype(np.bool_)
        info = np.iinfo(x.dtype)
        return np.clip(np.rint(y), info.min, info.max).astype(x.dtype)

    return run


def _make_resize(ctx: KernelContext) -> Callable[..., Array]:
    settings = Settings(ctx)

    def given(v: Array | None) -> Array | None:
        return None if v is None or v.size == 0 else v

    if ctx.since < 11:
        return lambda x, scales: _resize(x, settings, None, scales, None)

    def run(x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None) -> Array:
        return _resize(x, settings, given(roi), given(scales), given(sizes))

    return run


@float_kernel("Resize", prepare=True)
def resize(ctx: KernelContext) -> Callable[..., Array]:
    return _make_resize(ctx)


@kernel("Resize", dtypes=_INTEGERS, prepare=True)
def resize_integers(ctx: KernelContext) -> Callable[..., Array]:
    return _as_float(_make_resize(ctx), ctx.attr("mode", "nearest") == "nearest")


def _make_upsample(ctx: KernelContext) -> Callable[..., Array]:
    settings = Settings(ctx)
    if ctx.since >= 9:
        return lambda x, scales: _resize(x, settings, None, scales, None)
    fixed = ctx.attr("scales")
    if fixed is None:
        fixed = [1.0, 1.0, float(ctx.attr("height_scale")), float(ctx.attr("width_scale"))]
    return lambda x: _resize(x, settings, None, fixed, None)


@float_kernel("Upsample", prepare=True)
def upsample(ctx: KernelContext) -> Callable[..., Array]:
    return _make_upsample(ctx)


@kernel("Upsample", dtypes=_INTEGERS, prepare=True)
def upsample_integers(ctx: KernelContext) -> Callable[..., Array]:
    return _as_float(_make_upsample(ctx), ctx.attr("mode", "nearest") == "nearest")
