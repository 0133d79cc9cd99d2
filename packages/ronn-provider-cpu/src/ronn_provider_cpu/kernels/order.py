"""Sorting and running: TopK, ArgMax, ArgMin, Unique, CumSum, CumProd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import kernels, store, widen


def top_k(x: np.ndarray, k: int, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    """The k extreme elements along ``axis`` in order, and their indices; equal elements by lower index."""
    size = x.shape[axis]
    if not 0 <= k <= size:
        raise ValueError(f"k is {k}, but axis {axis} has {size} elements")
    keys = widen(x)
    if largest:
        # A stable ascending sort of the reversed axis, read backwards: descending, ties by lower index.
        backwards = np.flip(keys, axis)
        order = size - 1 - np.flip(np.argsort(backwards, axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(keys, axis=axis, kind="stable")
    first = [slice(None)] * x.ndim
    first[axis] = slice(k)
    order = np.ascontiguousarray(order[tuple(first)])
    return np.take_along_axis(x, order, axis), order.astype(np.int64, copy=False)


@kernel("TopK", until=9)
def top_k_by_attribute(ctx: KernelContext, x: np.ndarray, *, k: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """TopK of opset 1: k is an attribute."""
    return top_k(x, k, axis, largest=True)


@kernel("TopK", since=10)
def top_k_kernel(
    ctx: KernelContext, x: np.ndarray, k: np.ndarray, *, axis: int, largest: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """TopK."""
    return top_k(x, int(k.reshape(-1)[0]), axis, largest is None or bool(largest))


@kernels(("ArgMax", "ArgMin"), prepare=True)
def arg_extreme(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """ArgMax and ArgMin: the first of equal elements, or the last with select_last_index."""
    find = np.argmax if ctx.node.op == "ArgMax" else np.argmin
    axis, keepdims, last = ctx.attr("axis", 0), bool(ctx.attr("keepdims", 1)), bool(ctx.attr("select_last_index", 0))

    def call(x: np.ndarray) -> np.ndarray:
        keys = widen(x)
        if last:
            found = x.shape[axis] - 1 - find(np.flip(keys, axis), axis=axis, keepdims=keepdims)
        else:
            found = find(keys, axis=axis, keepdims=keepdims)
        return np.asarray(found, dtype=np.int64)

    return call


@kernel("Unique")
def unique(
    ctx: KernelContext, x: np.ndarray, *, axis: int | None, sorted: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unique elements, or slices along ``axis``; with first indices, inverse and counts."""
    keys = widen(x)
    if x.dtype.kind == "O":
        # Ranks stand for strings: they order alike, and NumPy compares slices of them.
        keys = np.unique(x.reshape(-1), return_inverse=True)[1].reshape(x.shape)
    if axis is None:
        keys = keys.reshape(-1)
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(order.size)
        first, counts, inverse = first[order], counts[order], rank[inverse]
    values = x.reshape(-1)[first] if axis is None else x.take(first, axis=axis)
    return values, first.astype(np.int64), inverse.astype(np.int64), counts.astype(np.int64)


@kernels(("CumSum", "CumProd"), rounded=True, prepare=True, into=True)
def cumulative(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """CumSum and CumProd, forward or reverse, with or without the element itself."""
    accumulate = np.cumsum if ctx.node.op == "CumSum" else np.cumprod
    neutral = 0 if ctx.node.op == "CumSum" else 1
    exclusive, reverse = bool(ctx.attr("exclusive", 0)), bool(ctx.attr("reverse", 0))

    def call(x: np.ndarray, axis: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        at = int(axis.reshape(-1)[0])
        at = at + x.ndim if at < 0 else at
        with np.errstate(all="ignore"):
            y = np.flip(widen(x), at) if reverse else widen(x)
            y = accumulate(y, axis=at, dtype=y.dtype)
            if exclusive and y.shape[at]:
                before = (slice(None),) * at
                shifted = np.empty_like(y)
                shifted[(*before, slice(1, None))] = y[(*before, slice(-1))]
                shifted[(*before, slice(1))] = neutral
                y = shifted
            return store(np.flip(y, at) if reverse else y, x.dtype, out)

    return call
