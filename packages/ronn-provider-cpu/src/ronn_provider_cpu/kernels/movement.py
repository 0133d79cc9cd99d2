"""Operators that cut, join, repeat and pad."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.padding import pad_array


def _slice(
    x: np.ndarray, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]
) -> np.ndarray:
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        if step > 0:
            index[axis] = slice(_bound(start, size, 0, size), _bound(end, size, 0, size), step)
        else:
            first, last = _bound(start, size, -1, size - 1), _bound(end, size, -1, size - 1)
            index[axis] = slice(first, None if last < 0 else last, step) if first > last else slice(0, 0)
    return x[tuple(index)]


def _bound(at: int, size: int, low: int, high: int) -> int:
    if at < 0:
        at += size
    return min(max(at, low), high)


@kernel("Slice", until=9, view=0)
def slice_by_attributes(
    ctx: KernelContext, x: np.ndarray, *, starts: list[int], ends: list[int], axes: list[int] | None
) -> np.ndarray:
    """Slice with attributes (opset 1)."""
    return _slice(x, starts, ends, range(len(starts)) if axes is None else axes, [1] * len(starts))


@kernel("Slice", since=10, view=0)
def slice_kernel(
    ctx: KernelContext,
    x: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> np.ndarray:
    """Slice: a view; starts and ends beyond the dim are clamped."""
    first, last = starts.tolist(), ends.tolist()
    along = range(len(first)) if axes is None else axes.tolist()
    return _slice(x, first, last, along, [1] * len(first) if steps is None else steps.tolist())


def _split(x: np.ndarray, sizes: Sequence[int], axis: int) -> tuple[np.ndarray, ...]:
    if sum(sizes) != x.shape[axis]:
        raise ValueError(f"split sizes {list(sizes)} do not add up to dim {x.shape[axis]} of axis {axis}")
    axis = axis + x.ndim if axis < 0 else axis
    before = (slice(None),) * axis
    parts, at = [], 0
    for size in sizes:
        parts.append(x[(*before, slice(at, at + size))])
        at += size
    return tuple(parts)


@kernel("Split", prepare=True, view=0)
def split(ctx: KernelContext) -> Callable[..., tuple[np.ndarray, ...] | np.ndarray]:
    """Split into views: by sizes (an attribute below opset 13, else an input), or evenly over the outputs."""
    axis, fixed, n = ctx.attr("axis", 0), ctx.attr("split"), len(ctx.outputs)

    def call(x: np.ndarray, sizes: np.ndarray | None = None) -> tuple[np.ndarray, ...] | np.ndarray:
        given = fixed if fixed is not None else None if sizes is None else sizes.tolist()
        if given is None:
            dim = x.shape[axis]
            part = -(-dim // n)
            given = [max(0, min(part, dim - i * part)) for i in range(n)]
        parts = _split(x, given, axis)
        return parts if n > 1 else parts[0]

    return call


@kernel("Concat", prepare=True, into=True)
def concat(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Concat; the axis is 1 by default in opset 1."""
    axis = ctx.attr("axis", 1)

    def call(*arrays: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return np.concatenate(arrays, axis=axis, out=out)

    return call


@kernel("Tile", until=5)
def tile_one_axis(ctx: KernelContext, x: np.ndarray, tiles: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Tile of opset 1: one axis, repeated."""
    repeats = [1] * x.ndim
    repeats[int(axis.item())] = int(tiles.item())
    return np.tile(x, repeats)


@kernel("Tile", since=6)
def tile(ctx: KernelContext, x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Tile."""
    return np.tile(x, repeats.tolist())


@kernel("Pad", until=10, prepare=True)
def pad_by_attributes(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Pad with attributes (``paddings`` in opset 1, ``pads`` in opset 2)."""
    pads, mode, value = ctx.attr("pads", ctx.attr("paddings")), ctx.attr("mode", "constant"), ctx.attr("value", 0.0)
    return lambda x: pad_array(x, pads, range(x.ndim), mode, value)


@kernel("Pad", since=11)
def pad(
    ctx: KernelContext,
    x: np.ndarray,
    pads: np.ndarray,
    value: np.ndarray | None = None,
    axes: np.ndarray | None = None,
    *,
    mode: str,
) -> np.ndarray:
    """Pad in the modes constant, reflect, edge and wrap."""
    fill: object = ("" if x.dtype.kind == "O" else x.dtype.type(0)) if value is None else value.reshape(-1)[0]
    return pad_array(x, pads.tolist(), range(x.ndim) if axes is None else axes.tolist(), mode, fill)


@kernel("CenterCropPad")
def center_crop_pad(ctx: KernelContext, x: np.ndarray, shape: np.ndarray, *, axes: list[int] | None) -> np.ndarray:
    """CenterCropPad: each axis is cut, or padded with zeros, to its target about the centre."""
    along = range(x.ndim) if axes is None else axes
    pads_before, pads_after = [], []
    for axis, target in zip(along, shape.tolist(), strict=True):
        missing = target - x.shape[axis]
        # What cannot be halved is padded behind, and cut behind too.
        before = missing // 2 if missing >= 0 else -((-missing) // 2)
        pads_before.append(before)
        pads_after.append(missing - before)
    return pad_array(x, [*pads_before, *pads_after], along, "constant", "" if x.dtype.kind == "O" else x.dtype.type(0))


@kernel("Trilu", prepare=True)
def trilu(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Trilu: the upper or lower triangle of the last two dims, zeros elsewhere."""
    upper = bool(ctx.attr("upper", 1))

    def call(x: np.ndarray, k: np.ndarray | None = None) -> np.ndarray:
        shift = 0 if k is None else int(k.reshape(-1)[0])
        # An offset beyond the matrix does what one just outside does; far ones would overflow index arithmetic.
        shift = min(max(shift, -x.shape[-2] - 1), x.shape[-1] + 1)
        rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
        keep = columns - rows >= shift if upper else columns - rows <= shift
        return np.where(keep, x, np.zeros((), x.dtype))

    return call
