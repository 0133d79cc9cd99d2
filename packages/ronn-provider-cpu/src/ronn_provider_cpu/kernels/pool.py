"""MaxPool, AveragePool and LpPool: windows are reduced one axis at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import Window as Geometry
from ronn_codegen.windows import counts_of, ints, is_set
from ronn_provider_cpu.kernels._common import float_kernel, own
from ronn_provider_cpu.kernels._spatial import pad_spatial, tap_slices, taps


class Window(Geometry):
    """The geometry of a pooling node, and reductions over its windows."""

    __slots__ = ()

    def reduce(self, x: np.ndarray, ufunc: np.ufunc) -> np.ndarray:
        """``ufunc`` over every window of the (already padded) ``x``."""
        lead = x.ndim - len(self.sizes)
        for i, (k, n, s, d) in enumerate(zip(self.kernel, self.sizes, self.strides, self.dilations, strict=True)):
            at: list[Any] = [slice(None)] * x.ndim
            at[lead + i] = tap_slices([0], [n], [s], [d])[0]
            if k == 1:
                x = x[tuple(at)]
                continue
            out: np.ndarray | None = None
            for t in range(1, k):
                first = x[tuple(at)] if out is None else out
                at[lead + i] = tap_slices([t], [n], [s], [d])[0]
                out = ufunc(first, x[tuple(at)], out=out)
            assert out is not None
            x = out
        return x


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind not in "iu" else np.iinfo(dtype).min


def _max_with_indices(x: np.ndarray, window: Window, column_major: bool) -> tuple[np.ndarray, np.ndarray]:
    spatial = x.shape[2:]
    padded = pad_spatial(x, window.padded, _lowest(x.dtype))
    where = np.arange(int(np.prod(spatial)), dtype=np.int64).reshape(spatial, order="F" if column_major else "C")
    where = pad_spatial(where, window.padded, -1)
    best = np.full((*x.shape[:2], *window.sizes), _lowest(x.dtype), x.dtype)
    index = np.full(best.shape, -1, np.int64)
    for tap in taps(window.kernel):
        at = tap_slices(tap, window.sizes, window.strides, window.dilations)
        value, position = padded[(..., *at)], where[at]
        better = (position >= 0) & ((value > best) | (index < 0))
        best = np.where(better, value, best)
        index = np.where(better, position, index)
    planes = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(*x.shape[:2], *(1,) * len(spatial))
    return best, index + planes * int(np.prod(spatial))


@kernel("MaxPool", dtypes={"T": "int8 uint8"}, prepare=True)
@float_kernel("MaxPool", variable="T", prepare=True)
def max_pool(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    ceil_mode: Any,
    dilations: Any,
    kernel_shape: Any,
    pads: Any,
    storage_order: Any,
    strides: Any,
) -> Callable[..., Any]:
    indices = ctx.n_outputs > 1 and ctx.wanted[1]

    def run(x: np.ndarray) -> Any:
        window = Window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        if indices:
            return _max_with_indices(x, window, is_set(storage_order))
        y = own(window.reduce(pad_spatial(x, window.padded, _lowest(x.dtype)), np.maximum), x)
        return (y, None) if ctx.n_outputs > 1 else y

    return run


@float_kernel("AveragePool", prepare=True)
def average_pool(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    dilations: Any,
    kernel_shape: Any,
    pads: Any,
    strides: Any,
) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray) -> np.ndarray:
        window = Window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        total = window.reduce(pad_spatial(x, window.padded), np.add)
        return total / counts_of(x.shape[2:], window, is_set(count_include_pad), x.dtype)

    return run


def _power_sum(x: np.ndarray, p: float, reduce: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    if p == 1:
        return reduce(np.abs(x))
    if p == 2:
        return np.sqrt(reduce(x * x))
    return reduce(np.abs(x) ** x.dtype.type(p)) ** x.dtype.type(1 / p)


@float_kernel("LpPool", prepare=True)
def lp_pool(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    ceil_mode: Any,
    dilations: Any,
    kernel_shape: Any,
    p: Any,
    pads: Any,
    strides: Any,
) -> Callable[..., np.ndarray]:
    order = 2.0 if p is None else float(p)

    def run(x: np.ndarray) -> np.ndarray:
        window = Window(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        return _power_sum(pad_spatial(x, window.padded), order, lambda a: window.reduce(a, np.add))

    return run


def _spatial_axes(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


@float_kernel("GlobalAveragePool")
def global_average_pool(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    return np.mean(x, axis=_spatial_axes(x), keepdims=True)


@float_kernel("GlobalMaxPool")
def global_max_pool(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    return np.max(x, axis=_spatial_axes(x), keepdims=True)


@float_kernel("GlobalLpPool")
def global_lp_pool(ctx: KernelContext, x: np.ndarray, *, p: Any) -> np.ndarray:
    order = 2.0 if p is None else float(p)
    return _power_sum(x, order, lambda a: np.sum(a, axis=_spatial_axes(x), keepdims=True))


@float_kernel("MaxUnpool", prepare=True)
def max_unpool(ctx: KernelContext, *, kernel_shape: Any, pads: Any, strides: Any) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray, indices: np.ndarray, output_shape: np.ndarray | None = None) -> np.ndarray:
        rank = x.ndim - 2
        s, p = ints(strides, rank, 1), ints(pads, 2 * rank, 0)
        inferred = [(n - 1) * s[i] - p[i] - p[rank + i] + int(kernel_shape[i]) for i, n in enumerate(x.shape[2:])]
        plane = [*x.shape[:2], *inferred]
        y = np.zeros(plane, x.dtype)
        flat = indices.reshape(-1)
        if flat.size and (flat.min() < 0 or flat.max() >= y.size):
            raise IndexError(f"MaxUnpool: an index lies outside the output of shape {tuple(plane)}")
        y.reshape(-1)[flat] = x.reshape(-1)
        if output_shape is None:
            return y
        # Indices count in the shape that the window implies; what the given shape has more is 0.
        return pad_spatial(y, [(0, int(v) - n) for v, n in zip(output_shape[2:], inferred, strict=True)])

    return run
