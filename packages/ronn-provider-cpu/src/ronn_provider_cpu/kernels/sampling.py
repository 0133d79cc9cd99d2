"""Sampling at computed positions: GridSample, AffineGrid, DeformConv, RoiAlign, MaxRoiPool."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_codegen.windows import ints, is_set
from ronn_provider_cpu.kernels._common import float_kernel
from ronn_provider_cpu.kernels.conv import add_bias

Array = np.ndarray


def _reflect(x: Array, low: float, high: float) -> Array:
    """``x`` mirrored at the borders until it lies between them."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    distance = np.where(x < low, low - x, x - high)
    turns = np.floor(distance / span)
    rest = distance - turns * span
    even = turns % 2 == 0
    mirrored = np.where(even == (x < low), low + rest, high - rest)
    return np.where((x < low) | (x > high), mirrored, x)


def _cubic_weights(t: Array) -> list[Array]:
    a = -0.75

    def far(d: Array) -> Array:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    def near(d: Array) -> Array:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _gather(x: Array, at: list[Array], shape: tuple[int, ...]) -> Array:
    """x (C, S) at the integer positions ``at`` (one array a spatial axis), flattened row by row."""
    flat = np.ravel_multi_index(at, shape)
    return x[:, flat]


@float_kernel("GridSample", variable="T1", prepare=True)
def grid_sample(ctx: KernelContext, *, align_corners: Any, mode: Any, padding_mode: Any) -> Callable[..., Array]:
    how = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    corners = is_set(align_corners)

    def run(x: Array, grid: Array) -> Array:
        spatial = x.shape[2:]
        rank = len(spatial)
        out = np.empty((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
        if out.size == 0:
            return out
        lows = [0.0 if corners else -0.5] * rank
        highs = [n - 1.0 if corners else n - 0.5 for n in spatial]

        def resolve(axis: int, at: Array) -> tuple[Array, Array | None]:
            """Integer positions inside the axis, and which of them are real (None: all)."""
            n = spatial[axis]
            if padding_mode == "zeros":
                return np.clip(at, 0, n - 1), (at >= 0) & (at < n)
            if padding_mode == "reflection":
                at = np.trunc(_reflect(at.astype(np.float64), lows[axis], highs[axis])).astype(np.int64)
            return np.clip(at, 0, n - 1), None

        for item in range(x.shape[0]):
            planes = x[item].reshape(x.shape[1], -1)
            places: list[list[tuple[Array, Array | None, Array | None]]] = []
            for axis in range(rank):
                n = spatial[axis]
                g = grid[item, ..., rank - 1 - axis].reshape(-1).astype(x.dtype)
                p = (g + 1) / 2 * (n - 1) if corners else ((g + 1) * n - 1) / 2
                if how == "nearest":
                    p = np.rint(p)
                if padding_mode == "border" and how != "cubic":
                    # Cubic weights keep the position: only the pixels that they fall on are bounded.
                    p = np.clip(p, 0, n - 1)
                elif padding_mode == "reflection":
                    p = _reflect(p, lows[axis], highs[axis])
                p = np.nan_to_num(p, nan=-1.0, posinf=2.0**30, neginf=-(2.0**30))
                p = np.clip(p, -(2.0**30), 2.0**30)
                base = np.floor(p)
                t = p - base
                start = base.astype(np.int64)
                if how == "nearest":
                    places.append([(*resolve(axis, start), None)])
                elif how == "linear":
                    places.append([(*resolve(axis, start + k), w) for k, w in ((0, 1 - t), (1, t))])
                else:
                    places.append([(*resolve(axis, start - 1 + k), w) for k, w in enumerate(_cubic_weights(t))])
            total = np.zeros((x.shape[1], places[0][0][0].size), x.dtype)
            for corner in product(*places):
                value = _gather(planes, [c[0] for c in corner], spatial)
                for _, valid, weight in corner:
                    if valid is not None:
                        value = np.where(valid, value, x.dtype.type(0))
                    if weight is not None:
                        value = value * weight
                total += value
            out[item] = total.reshape(out.shape[1:])
        return out

    return run


@float_kernel("AffineGrid", variable="T1")
def affine_grid(ctx: KernelContext, theta: Array, size: Array, *, align_corners: Any) -> Array:
    spatial = [int(v) for v in size[2:]]
    axes = []
    for n in spatial:
        if is_set(align_corners):
            axes.append(np.linspace(-1, 1, n) if n > 1 else np.zeros(n))
        else:
            axes.append((2 * np.arange(n) + 1) / max(n, 1) - 1)
    mesh = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*mesh[::-1], np.ones(spatial)], axis=-1).astype(theta.dtype)
    flat = points.reshape(-1, len(spatial) + 1)
    return np.matmul(flat, theta.swapaxes(-1, -2)).reshape(theta.shape[0], *spatial, len(spatial))


@float_kernel("DeformConv", prepare=True)
def deform_conv(
    ctx: KernelContext, *, dilations: Any, group: Any, offset_group: Any, pads: Any, strides: Any
) -> Callable[..., Array]:
    groups = 1 if group is None else int(group)
    offset_groups = 1 if offset_group is None else int(offset_group)

    def run(x: Array, w: Array, offset: Array, bias: Array | None = None, mask: Array | None = None) -> Array:
        n, c, *spatial = x.shape
        m, per_group, *kernel = w.shape
        rank = len(spatial)
        s, d, p = ints(strides, rank, 1), ints(dilations, rank, 1), ints(pads, 2 * rank, 0)
        sizes = offset.shape[2:]
        volume = math.prod(kernel)
        shifts = offset.reshape(n, offset_groups, volume, rank, *sizes)
        factors = None if mask is None else mask.reshape(n, offset_groups, volume, -1)
        share = c // offset_groups
        grids = np.meshgrid(*(np.arange(o) * s[i] - p[i] for i, o in enumerate(sizes)), indexing="ij")
        columns = np.empty((n, c, volume, math.prod(sizes)), x.dtype)
        for item, og, (k, tap) in product(range(n), range(offset_groups), enumerate(product(*map(range, kernel)))):
            at = [(grids[i] + tap[i] * d[i] + shifts[item, og, k, i]).reshape(-1) for i in range(rank)]
            part = x[item, og * share : (og + 1) * share].reshape(share, -1)
            value = _linear_zero(part, at, tuple(spatial)).astype(x.dtype, copy=False)
            if factors is not None:
                value = value * factors[item, og, k]
            columns[item, og * share : (og + 1) * share, k] = value
        y = np.matmul(w.reshape(groups, m // groups, -1), columns.reshape(n, groups, per_group * volume, -1))
        return add_bias(y.reshape(n, m, *sizes), bias)

    return run


def _linear_zero(x: Array, at: list[Array], spatial: tuple[int, ...]) -> Array:
    """Multilinear samples of x (C, S) at real positions; what lies outside counts as 0."""
    bases = [np.clip(np.floor(p), -(2.0**30), 2.0**30) for p in at]
    total: Any = 0
    for corner in product((0, 1), repeat=len(at)):
        weight: Any = 1
        inside: Any = True
        index = []
        for n, p, base, k in zip(spatial, at, bases, corner, strict=True):
            t = p - base
            weight = weight * (t if k else 1 - t)
            position = base.astype(np.int64) + k
            inside = inside & (position >= 0) & (position < n)
            index.append(np.clip(position, 0, n - 1))
        total = total + _gather(x, index, spatial) * np.where(inside, weight, 0)
    return np.asarray(total)


@float_kernel("RoiAlign", variable="T1", prepare=True)
def roi_align(
    ctx: KernelContext,
    *,
    mode: Any,
    output_height: int,
    output_width: int,
    sampling_ratio: int,
    spatial_scale: float,
) -> Callable[..., Array]:
    # Before opset 16 there was no half-pixel shift.
    half = ctx.since >= 16 and ctx.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"

    def line(start: float, length: float, bins: int, size: int) -> tuple[Array, Array, Array, Array, int]:
        """Low and high positions, the high one's weight, validity: (bins * samples) along one axis."""
        step = length / bins
        samples = sampling_ratio if sampling_ratio > 0 else math.ceil(step)
        k = np.arange(max(samples, 0))
        at = (start + np.arange(bins)[:, None] * step + (k + 0.5) * step / max(samples, 1)).reshape(-1)
        valid = (at >= -1.0) & (at <= size)
        at = np.maximum(at, 0)
        low = np.minimum(at.astype(np.int64), size - 1)
        high = np.minimum(low + 1, size - 1)
        return low, high, np.where(low >= size - 1, 0.0, at - low), valid, samples

    def run(x: Array, rois: Array, batch: Array) -> Array:
        height, width = x.shape[2:]
        out = np.zeros((rois.shape[0], x.shape[1], output_height, output_width), x.dtype)
        shift = 0.5 if half else 0.0
        if batch.size and (batch.min() < 0 or batch.max() >= x.shape[0]):
            raise IndexError(f"RoiAlign: a batch index lies outside 0..{x.shape[0] - 1}")
        for r in range(rois.shape[0]):
            x1, y1, x2, y2 = (float(v) * spatial_scale - shift for v in rois[r])
            roi_w, roi_h = x2 - x1, y2 - y1
            if not half:
                roi_w, roi_h = max(roi_w, 1.0), max(roi_h, 1.0)
            yl, yh, ty, vy, ny = line(y1, roi_h, output_height, height)
            xl, xh, tx, vx, nx = line(x1, roi_w, output_width, width)
            if ny <= 0 or nx <= 0:
                continue
            plane = x[batch[r]]
            wy, wx = np.stack([1 - ty, ty]) * vy, np.stack([1 - tx, tx]) * vx
            parts = [
                plane[:, rows[:, None], cols] * (wy[i][:, None] * wx[j]).astype(x.dtype)
                for i, rows in enumerate((yl, yh))
                for j, cols in enumerate((xl, xh))
            ]
            if mode == "max":
                value = np.maximum.reduce(parts)
            else:
                value = parts[0] + parts[1] + parts[2] + parts[3]
            bins = value.reshape(x.shape[1], output_height, ny, output_width, nx)
            out[r] = bins.max(axis=(2, 4)) if mode == "max" else bins.sum(axis=(2, 4)) / (ny * nx)
        return out

    return run


@float_kernel("MaxRoiPool")
def max_roi_pool(ctx: KernelContext, x: Array, rois: Array, *, pooled_shape: Any, spatial_scale: float) -> Array:
    bins_h, bins_w = (int(v) for v in pooled_shape)
    out = np.zeros((rois.shape[0], x.shape[1], bins_h, bins_w), x.dtype)
    for r, roi in enumerate(rois):
        plane = x[int(roi[0])]
        x1, y1, x2, y2 = (math.floor(float(v) * spatial_scale + 0.5) for v in roi[1:])
        for axis_bins in product(range(bins_h), range(bins_w)):
            spans = []
            for k, bins, start, end, size in zip(
                axis_bins, (bins_h, bins_w), (y1, x1), (y2, x2), x.shape[2:], strict=True
            ):
                step = max(end - start + 1, 1) / bins
                first = min(max(math.floor(k * step) + start, 0), size)
                spans.append(slice(first, min(max(math.ceil((k + 1) * step) + start, 0), size)))
            part = plane[:, spans[0], spans[1]]
            if part.size:
                out[(r, slice(None), *axis_bins)] = part.max(axis=(1, 2))
    return out
