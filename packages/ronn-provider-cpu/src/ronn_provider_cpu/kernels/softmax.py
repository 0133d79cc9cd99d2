"""Softmax, LogSoftmax and Hardmax: over one axis since opset 13, over the flattened trailing axes before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._common import float_kernel


def softmax_last(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Softmax of a float array over ``axis``."""
    if x.shape[axis] == 0:
        return x.copy()
    y = x - x.max(axis=axis, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    if x.shape[axis] == 0:
        return x.copy()
    y = x - x.max(axis=axis, keepdims=True)
    return y - np.log(np.exp(y).sum(axis=axis, keepdims=True))


def _hardmax(x: np.ndarray, axis: int) -> np.ndarray:
    y = np.zeros_like(x)
    if x.size:
        np.put_along_axis(y, np.expand_dims(x.argmax(axis=axis), axis), 1, axis)
    return y


def _over(ctx: KernelContext, axis: Any, fn: Callable[[np.ndarray, int], np.ndarray]) -> Callable[..., np.ndarray]:
    if ctx.since >= 13:
        along = -1 if axis is None else int(axis)

        def modern(x: np.ndarray) -> np.ndarray:
            return fn(x.reshape(1), 0).reshape(()) if x.ndim == 0 else fn(x, along)

        return modern
    start = 1 if axis is None else int(axis)

    def flattened(x: np.ndarray) -> np.ndarray:
        split = start + x.ndim if start < 0 else start
        rows = int(np.prod(x.shape[:split]))
        return fn(x.reshape(rows, int(np.prod(x.shape[split:]))), 1).reshape(x.shape)

    return flattened


@float_kernel("Softmax", prepare=True)
def softmax(ctx: KernelContext, *, axis: Any) -> Callable[..., np.ndarray]:
    return _over(ctx, axis, softmax_last)


@float_kernel("LogSoftmax", prepare=True)
def log_softmax(ctx: KernelContext, *, axis: Any) -> Callable[..., np.ndarray]:
    return _over(ctx, axis, _log_softmax)


@float_kernel("Hardmax", prepare=True)
def hardmax(ctx: KernelContext, *, axis: Any) -> Callable[..., np.ndarray]:
    return _over(ctx, axis, _hardmax)
