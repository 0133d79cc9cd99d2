"""Indexing: the Gather and Scatter families. Indices are checked: IndexError, with the numbers, if out of range."""

from __future__ import annotations

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import kernels, widen

UPDATES = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def checked(indices: np.ndarray, size: int, axis: int) -> np.ndarray:
    """``indices`` as they are; IndexError where one is not in ``[-size, size - 1]``."""
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise IndexError(f"index {bad} is out of range for axis {axis}, whose size is {size}")
    return indices


@kernel("Gather", into=True)
def gather(
    ctx: KernelContext, x: np.ndarray, indices: np.ndarray, *, axis: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Gather slices along ``axis``."""
    if out is None and x.shape[axis] > 0:
        try:
            return np.asarray(np.take(x, indices, axis=axis))
        except IndexError:
            pass  # to be told as everywhere
    checked(indices, x.shape[axis], axis)
    if x.shape[axis] == 0:
        axis = axis + x.ndim if axis < 0 else axis
        return np.empty((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    # The mode lets take write to ``out`` unbuffered; for checked indices it means what negative indices mean.
    return np.asarray(np.take(x, indices, axis=axis, out=out, mode="wrap"))


@kernel("GatherElements")
def gather_elements(ctx: KernelContext, x: np.ndarray, indices: np.ndarray, *, axis: int) -> np.ndarray:
    """GatherElements."""
    checked(indices, x.shape[axis], axis)
    return x[_element_index(x, indices, axis)]


def _element_index(x: np.ndarray, indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """Open index arrays with ``indices`` along ``axis``."""
    index = list(np.ogrid[tuple(slice(n) for n in indices.shape)])
    index[axis] = indices
    return tuple(index)


@kernel("GatherND")
def gather_nd(ctx: KernelContext, x: np.ndarray, indices: np.ndarray, *, batch_dims: int | None) -> np.ndarray:
    """GatherND: the last dim of ``indices`` holds coordinates behind the batch dims."""
    b = 0 if batch_dims is None else batch_dims
    depth = indices.shape[-1]
    for i in range(depth):
        checked(indices[..., i], x.shape[b + i], b + i)
    trailing = (1,) * (indices.ndim - 1 - b)
    batch = [a.reshape(*a.shape, *trailing) for a in np.ogrid[tuple(slice(n) for n in x.shape[:b])]]
    coordinates = (*batch, *(indices[..., i] for i in range(depth)))
    if not coordinates:
        return np.broadcast_to(x, (*indices.shape[:-1], *x.shape)).copy()
    if batch:
        shape = indices.shape[:-1]
        coordinates = tuple(np.broadcast_to(c, shape) for c in coordinates)
    return np.asarray(x[coordinates])


def _update(out: np.ndarray, index: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str | None) -> np.ndarray:
    """Writes ``updates`` to ``out[index]``, combining them where ``reduction`` says so; returns ``out``."""
    if reduction is None or reduction == "none":
        out[index] = updates
        return out
    with np.errstate(all="ignore"):
        wide = widen(out)
        if wide.dtype.kind == "b":
            wide = wide.astype(np.uint8)
            updates = updates.astype(np.uint8)
        UPDATES[reduction].at(wide, index, widen(updates))
        return wide if wide is out else wide.astype(out.dtype)


@kernel("Scatter")
@kernel("ScatterElements")
def scatter_elements(
    ctx: KernelContext, x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, axis: int, reduction: str | None
) -> np.ndarray:
    """ScatterElements, and Scatter by its old name."""
    checked(indices, x.shape[axis], axis)
    return _update(x.copy(), _element_index(x, indices, axis), updates, reduction)


@kernel("ScatterND")
def scatter_nd(
    ctx: KernelContext, x: np.ndarray, indices: np.ndarray, updates: np.ndarray, *, reduction: str | None
) -> np.ndarray:
    """ScatterND."""
    depth = indices.shape[-1]
    for i in range(depth):
        checked(indices[..., i], x.shape[i], i)
    return _update(x.copy(), tuple(indices[..., i] for i in range(depth)), updates, reduction)


@kernel("TensorScatter")
def tensor_scatter(
    ctx: KernelContext,
    cache: np.ndarray,
    update: np.ndarray,
    write_indices: np.ndarray | None = None,
    *,
    axis: int,
    mode: str,
) -> np.ndarray:
    """TensorScatter: ``update`` written to ``cache`` along the sequence axis, each sample at its own position."""
    axis = axis + cache.ndim if axis < 0 else axis
    size, length = cache.shape[axis], update.shape[axis]
    out = cache.copy()
    for sample in range(cache.shape[0]):
        start = 0 if write_indices is None else int(write_indices[sample])
        at = np.arange(start, start + length)
        if mode == "circular":
            at %= size
        elif start < 0 or start + length > size:
            raise IndexError(f"sample {sample}: positions {start}..{start + length - 1} of a cache of {size}")
        np.moveaxis(out[sample], axis - 1, 0)[at] = np.moveaxis(update[sample], axis - 1, 0)
    return out


@kernel("ReverseSequence")
def reverse_sequence(
    ctx: KernelContext, x: np.ndarray, lengths: np.ndarray, *, batch_axis: int, time_axis: int
) -> np.ndarray:
    """ReverseSequence: the first ``lengths[i]`` steps of sample i are reversed."""
    checked(lengths - 1, max(x.shape[time_axis], 1), time_axis)
    steps = np.arange(x.shape[time_axis])
    order = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    moved = np.moveaxis(x, (batch_axis, time_axis), (0, 1))
    picked = moved[np.arange(moved.shape[0])[:, None], order]
    return np.ascontiguousarray(np.moveaxis(picked, (0, 1), (batch_axis, time_axis)))


@kernel("Compress")
def compress(ctx: KernelContext, x: np.ndarray, condition: np.ndarray, *, axis: int | None) -> np.ndarray:
    """Compress: the slices (or elements) for which the condition holds."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    keep = np.flatnonzero(condition)
    checked(keep, x.shape[axis], axis)
    return x.take(keep, axis=axis)


@kernel("NonZero")
def non_zero(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """NonZero: coordinates, ``[rank, count]``, in row-major order."""
    if x.dtype.kind == "O":
        x = x != ""
    elif x.dtype.kind == "V":
        x = widen(x)
    if x.ndim == 0:
        return np.zeros((0, int(bool(x))), np.int64)
    return np.array(np.nonzero(x), dtype=np.int64).reshape(x.ndim, -1)


@kernels(["OneHot"])
def one_hot(ctx: KernelContext, indices: np.ndarray, depth: np.ndarray, values: np.ndarray, *, axis: int) -> np.ndarray:
    """OneHot; an index outside ``[-depth, depth - 1]`` gives the off value everywhere."""
    size = int(depth.reshape(-1)[0])
    at = widen(indices)
    if at.dtype.kind != "u":
        at = np.where(at < 0, at + size, at)
    axis = axis + indices.ndim + 1 if axis < 0 else axis
    hot = np.expand_dims(at, axis) == np.arange(size).reshape(-1, *(1,) * (indices.ndim - axis))
    return np.where(hot, values[1], values[0]).astype(values.dtype, copy=False)


@kernel("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(ctx: KernelContext, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """ArrayFeatureExtractor: columns of the last axis; a vector becomes one row."""
    flat = checked(indices.reshape(-1), x.shape[-1], x.ndim - 1)
    picked = x[..., flat]
    return picked.reshape(1, -1) if x.ndim == 1 else picked
