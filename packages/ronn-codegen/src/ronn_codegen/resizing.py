"""Where the elements of a resized axis come from: positions, taps and weights of Resize and Upsample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn_codegen.windows import is_set

Array = np.ndarray
_F = np.float32


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
