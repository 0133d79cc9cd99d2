"""One-input elementwise operators that are one NumPy function each, Erf, IsInf and Clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.series import ERF_TAYLOR, ERFC_CHEBYSHEV
from ronn_provider_cpu.kernels._numeric import in_blocks, kernels, store, wider

ROUNDING = {"Ceil": np.ceil, "Floor": np.floor, "Round": np.rint, "Abs": np.abs, "Neg": np.negative, "Sign": np.sign}
FLOAT = {
    "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Reciprocal": np.reciprocal,
    "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
}  # fmt: skip
UFUNCS = {**ROUNDING, **FLOAT}


def _apply(ufunc: np.ufunc, dtype: np.dtype) -> Callable[..., np.ndarray]:
    compute = wider(dtype)
    if compute != dtype:
        return in_blocks(ufunc, dtype)

    def call(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(x, out=out))

    return call


@kernels(UFUNCS, rounded=True, prepare=True, into=True, inplace=(0,))
def unary(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Operators of ``UFUNCS``."""
    return _apply(UFUNCS[ctx.node.op], ctx.dtype())


@kernel("Not", into=True, inplace=(0,))
def logical_not(ctx: KernelContext, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Not."""
    return np.asarray(np.logical_not(x, out=out))


@kernel("BitwiseNot", into=True, inplace=(0,))
def bitwise_not(ctx: KernelContext, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """BitwiseNot."""
    return np.asarray(np.invert(x, out=out))


@kernel("IsNaN", into=True)
def is_nan(ctx: KernelContext, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """IsNaN."""
    return np.asarray(np.isnan(x, out=out))


@kernel("IsInf", into=True)
def is_inf(
    ctx: KernelContext, x: np.ndarray, *, detect_negative: int, detect_positive: int, out: np.ndarray | None = None
) -> np.ndarray:
    """IsInf."""
    wide = x.astype(wider(x.dtype), copy=False)
    y = np.isinf(wide)
    if not detect_negative:
        y &= wide > 0
    if not detect_positive:
        y &= wide < 0
    return store(y, np.dtype(bool), out)


# In float32, erf(x) = x P(x^2) / Q(x^2) for |x| <= 3.92 to 4e-7 relative; beyond, it is 1.
_ERF32_LIMIT = 3.92
_ERF32_P = (1.12837911, 0.19040218, 0.0527481884, 0.0037654445, 0.000284880778, 2.05014271e-06)
_ERF32_Q = (1.0, 0.502072275, 0.11410737, 0.0149688665, 0.00116249756, 3.80921956e-05)
# In float64, ERF_TAYLOR below 0.9, and ERFC_CHEBYSHEV above it.


def _horner(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """The polynomial with ``coefficients`` (lowest power first) at ``x``."""
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y *= x
        y += x.dtype.type(c)
    return y


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of a float32 or float64 array, to 4e-7 and 4e-16 relative."""
    if x.dtype == np.float32:
        x = np.clip(x, -_ERF32_LIMIT, _ERF32_LIMIT)
        z = x * x
        y = _horner(z, _ERF32_P)
        y /= _horner(z, _ERF32_Q)
        y *= x
        return np.clip(y, -1, 1, out=y)
    a = np.abs(x)
    y = x * _horner(np.minimum(a, 1) ** 2, ERF_TAYLOR)
    large = a > 0.9
    if large.any():
        b = a[large]
        t = 2 / (2 + b)
        tail = np.exp(-b * b) * t * np.polynomial.chebyshev.chebval(2 * t - 1, ERFC_CHEBYSHEV)
        y[large] = np.copysign(1 - tail, x[large])
    return y


@kernels(["Erf"], rounded=True, prepare=True, into=True, inplace=(0,))
def erf_kernel(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Erf of any numeric type; integers are computed in float64 and truncated."""
    dtype = ctx.dtype()
    if wider(dtype).kind == "f":
        return in_blocks(erf, dtype)
    return in_blocks(lambda x: erf(x.astype(np.float64)), dtype)


@kernel("Clip", until=6, prepare=True, into=True, inplace=(0,))
def clip_by_attributes(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Clip with the bounds as attributes (opset 1 and 6)."""
    with np.errstate(over="ignore"):  # the default bounds are float32's: infinite in float16
        limits = ctx.dtype().type(ctx.attr("min", -np.inf)), ctx.dtype().type(ctx.attr("max", np.inf))

    def call(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        return _clip(x, *limits, out)

    return call


@kernel("Clip", since=11, into=True, inplace=(0,))
def clip(
    ctx: KernelContext,
    x: np.ndarray,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Clip; where the lower bound is above the upper one, the result is the upper one."""
    return _clip(x, low, high, out)


def _clip(x: np.ndarray, low: Any, high: Any, out: np.ndarray | None) -> np.ndarray:
    if low is None and high is None:
        return store(x, x.dtype, np.empty_like(x) if out is None else out)
    if low is not None:
        x = np.maximum(x, low, out=out)
    if high is not None:
        x = np.minimum(x, high, out=out)
    return np.asarray(x)
