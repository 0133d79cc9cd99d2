"""Resize, Upsample, GridSample, AffineGrid."""

from __future__ import annotations

import math

import numpy as np

from ronn.ir.dims import Dim, Shape, floordiv
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import axes_of, unknown


@rule("Resize")
def resize(c: InferContext) -> None:
    shape = c.shape(0)
    if shape is None:
        c.set(0, c.dtype(0), None)
        return
    scales_at, sizes_at = (1, -1) if c.since < 11 else (2, 3)
    axes = c.node.attributes.get("axes")
    where = list(range(len(shape))) if axes is None else axes_of(c, axes, len(shape))
    sizes = c.dims(sizes_at) if sizes_at > 0 else None
    out: list[Dim | None] = list(shape)
    if sizes is not None and len(sizes) > 0:
        if len(sizes) != len(where):
            raise c.fail(f"{len(sizes)} sizes for {len(where)} axes")
        policy = c.attr("keep_aspect_ratio_policy", "stretch")
        found = list(sizes) if policy == "stretch" else _kept_ratio(policy, [shape[a] for a in where], sizes)
        for axis, d in zip(where, found, strict=True):
            out[axis] = d
        c.set(0, c.dtype(0), out)
        return
    scales = c.const(scales_at)
    if scales is None or scales.size == 0 or (sizes_at > 0 and c.has(sizes_at) and scales.size == 0):
        c.set(0, c.dtype(0), unknown(len(shape)))
        return
    if scales.size != len(where):
        raise c.fail(f"{scales.size} scales for {len(where)} axes")
    for axis, scale in zip(where, scales.reshape(-1).tolist(), strict=True):
        out[axis] = _scaled(shape[axis], scale)
    c.set(0, c.dtype(0), out)


def _scaled(size: Dim | None, scale: float) -> Dim | None:
    """``floor(size * scale)``, in float32 where both are numbers."""
    if size is None or not math.isfinite(scale) or scale <= 0:
        return None
    if isinstance(size, int):
        return math.floor(np.float32(size) * np.float32(scale))
    if scale.is_integer():
        return size * int(scale)
    inverse = 1 / scale
    return floordiv(size, int(inverse)) if inverse.is_integer() and math.frexp(inverse)[0] == 0.5 else None


def _kept_ratio(policy: str, dims: list[Dim | None], sizes: tuple[Dim | None, ...]) -> list[Dim | None]:
    pairs = [(d, s) for d, s in zip(dims, sizes, strict=True) if isinstance(d, int) and isinstance(s, int) and d > 0]
    if len(pairs) != len(dims):
        return [None] * len(dims)
    ratios = [s / d for d, s in pairs]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(scale * d + 0.5) for d, _ in pairs]


@rule("Upsample")
def upsample(c: InferContext) -> None:
    shape = c.shape(0)
    scales = c.node.attributes.get("scales")
    if scales is None and c.since >= 9:
        array = c.const(1)
        scales = None if array is None else array.reshape(-1).tolist()
    if scales is None and "height_scale" in c.node.attributes:
        scales = [1.0, 1.0, c.attr("height_scale"), c.attr("width_scale")]
    if shape is None or scales is None:
        c.set(0, c.dtype(0), unknown(c.rank(0)))
        return
    if len(scales) != len(shape):
        raise c.fail(f"{len(scales)} scales for rank {len(shape)}")
    c.set(0, c.dtype(0), [_scaled(d, float(s)) for d, s in zip(shape, scales, strict=True)])


@rule("GridSample")
def grid_sample(c: InferContext) -> None:
    x, grid = c.shape(0), c.shape(1)
    batch: Shape = (None, None) if x is None else x[:2]
    rank = c.rank(0) if x is not None else c.rank(1)
    if rank is None:
        c.set(0, c.dtype(0), None)
        return
    c.set(0, c.dtype(0), (*batch, *((None,) * (rank - 2) if grid is None else grid[1:-1])))


@rule("AffineGrid")
def affine_grid(c: InferContext) -> None:
    size = c.dims(1)
    if size is None or len(size) < 3:
        c.set(0, c.dtype(0), None)
        return
    c.set(0, c.dtype(0), (size[0], *size[2:], len(size) - 2))
