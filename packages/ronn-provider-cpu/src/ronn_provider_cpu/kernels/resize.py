"""Resize and Upsample: every axis is interpolated on its own, by gathering taps and weighting them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.resizing import Settings, nearest, output_sizes, places, weighted_taps
from ronn_provider_cpu.kernels._common import float_kernel, own

Array = np.ndarray
_INTEGERS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool"


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
