"""Reductions: sums, means, extremes, products, norms and their logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._numeric import kernels, store, widen

Axes = tuple[int, ...] | None


def _lowest(dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        return -np.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def _highest(dtype: np.dtype) -> Any:
    if dtype.kind == "f":
        return np.inf
    return True if dtype.kind == "b" else np.iinfo(dtype).max


def _max(x: np.ndarray, **how: Any) -> Any:
    return np.max(x, initial=_lowest(x.dtype) if x.size == 0 else np._NoValue, **how)


def _min(x: np.ndarray, **how: Any) -> Any:
    return np.min(x, initial=_highest(x.dtype) if x.size == 0 else np._NoValue, **how)


def _sum(x: np.ndarray, **how: Any) -> Any:
    return np.sum(x, dtype=x.dtype, **how)


def _prod(x: np.ndarray, **how: Any) -> Any:
    return np.prod(x, dtype=x.dtype, **how)


def _mean(x: np.ndarray, **how: Any) -> Any:
    total = np.sum(x, dtype=x.dtype, **how)
    count = math.prod(x.shape[a] for a in how["axis"])
    if x.dtype.kind == "f":
        return np.divide(total, x.dtype.type(count), out=how.get("out"))
    return np.trunc(total / max(1, count))


def _l1(x: np.ndarray, **how: Any) -> Any:
    return _sum(np.abs(x), **how)


def _l2(x: np.ndarray, **how: Any) -> Any:
    return np.sqrt(_sum(np.square(x), **how))


def _sum_square(x: np.ndarray, **how: Any) -> Any:
    return _sum(np.square(x), **how)


def _log_sum(x: np.ndarray, **how: Any) -> Any:
    return np.log(_sum(x, **how))


def _log_sum_exp(x: np.ndarray, **how: Any) -> Any:
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if x.size == 0:
        return np.log(_sum(x, **how))
    peak = np.max(x, axis=how["axis"], keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0)
    total = np.log(np.sum(np.exp(x - peak), axis=how["axis"], keepdims=True)) + peak
    return total if how["keepdims"] else total.squeeze(how["axis"])


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": _sum, "ReduceMean": _mean, "ReduceMax": _max, "ReduceMin": _min, "ReduceProd": _prod,
    "ReduceL1": _l1, "ReduceL2": _l2, "ReduceSumSquare": _sum_square,
    "ReduceLogSum": _log_sum, "ReduceLogSumExp": _log_sum_exp,
}  # fmt: skip
# What an operator does to each element before it sums: all that is left of it when no axis is reduced.
_ELEMENTWISE: dict[str, Callable[[np.ndarray], Any]] = {
    "ReduceL1": np.abs, "ReduceL2": np.abs, "ReduceSumSquare": np.square, "ReduceLogSum": np.log,
}  # fmt: skip


@kernels(REDUCTIONS, rounded=True, prepare=True, into=True)
def reduction(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Operators of ``REDUCTIONS``: axes from the attribute (older opsets) or the input; none means all."""
    op = ctx.node.op
    reduce = REDUCTIONS[op]
    dtype = ctx.dtype()
    keepdims, noop = bool(ctx.attr("keepdims", 1)), bool(ctx.attr("noop_with_empty_axes", 0))
    fixed = ctx.attr("axes")
    known = ctx.const(1)
    if fixed is None and known is not None:
        fixed = known.reshape(-1).tolist()
    native = op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean")

    def call(x: np.ndarray, axes: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
        given = fixed if fixed is not None else () if axes is None else axes.reshape(-1).tolist()
        with np.errstate(all="ignore"):
            wide = widen(x)
            if len(given) == 0 and noop:
                alone = _ELEMENTWISE.get(op)
                return store(wide.copy() if alone is None else alone(wide), dtype, out)
            axis: Axes = tuple(given) if len(given) else tuple(range(x.ndim))
            if native and out is not None and out.dtype == wide.dtype and wide.size and wide.dtype.kind == "f":
                return np.asarray(reduce(wide, axis=axis, keepdims=keepdims, out=out))
            return store(reduce(wide, axis=axis, keepdims=keepdims), dtype, out)

    return call
