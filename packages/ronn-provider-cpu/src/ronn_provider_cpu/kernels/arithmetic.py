"""Arithmetic of two and more inputs, with broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import kernels, store, widen, wider

Binary = Callable[..., np.ndarray]


def legacy_broadcast(ctx: KernelContext, call: Binary) -> Binary:
    """``call(a, b, out=None)`` with the ``broadcast`` and ``axis`` attributes of opsets below 7, where they say so."""
    axis = ctx.node.attributes.get("axis")
    if ctx.since >= 7 or not ctx.attr("broadcast", 0) or axis is None:
        return call

    def aligned(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        start = axis + a.ndim if axis < 0 else axis
        return call(a, b.reshape(b.shape + (1,) * (a.ndim - start - b.ndim)), out=out)

    return aligned


def by_ufunc(ufunc: np.ufunc) -> Binary:
    """``call(a, b, out=None)`` for a NumPy function, with its warnings off and an array as result for rank 0."""

    def call(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(a, b, out=out))

    return call


def divide_integers(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Integer division that truncates toward zero; the smallest integer by -1 wraps, division by zero gives 0."""
    with np.errstate(all="ignore"):
        quotient = np.floor_divide(a, b)
        if quotient.dtype.kind == "i":
            quotient = np.asarray(quotient + (((a ^ b) < 0) & (quotient * b != a) & (b != 0)))
        return store(quotient, a.dtype, out)


UFUNCS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}


@kernels(UFUNCS, rounded=True, prepare=True, into=True, inplace=(0, 1))
def arithmetic(ctx: KernelContext) -> Binary:
    """Add, Sub, Mul: integers wrap."""
    return legacy_broadcast(ctx, by_ufunc(UFUNCS[ctx.node.op]))


@kernels(["Div"], rounded=True, prepare=True, into=True, inplace=(0, 1))
def divide(ctx: KernelContext) -> Binary:
    """Div: integers truncate toward zero."""
    return legacy_broadcast(ctx, divide_integers if ctx.dtype().kind in "iu" else by_ufunc(np.true_divide))


@kernels(["Mod"], rounded=True, prepare=True, into=True, inplace=(0, 1))
def mod(ctx: KernelContext) -> Binary:
    """Mod: the sign of the divisor, or with fmod=1 that of the dividend."""
    ufunc = np.fmod if ctx.attr("fmod") else np.remainder
    if wider(ctx.dtype()) == ctx.dtype():
        return by_ufunc(ufunc)

    def narrow(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            return store(ufunc(widen(a), widen(b)), a.dtype, out)

    return narrow


@kernels(["Pow"], rounded=True, prepare=True, into=True, inplace=(0,))
def power(ctx: KernelContext) -> Binary:
    """Pow: the result has the type of the base; an integer base with a negative or fractional exponent truncates."""
    exponent = ctx.const(1)
    dtype = ctx.dtype()
    if exponent is not None and exponent.size == 1 and exponent.ndim == 0 and exponent == 2:
        return lambda a, b, out=None: by_ufunc(np.multiply)(a, a, out=out)

    def call(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            base, exp = widen(a), widen(b)
            if base.dtype.kind in "iu" and exp.dtype.kind in "iu":
                if exp.dtype.kind == "i" and exp.size and exp.min() < 0:
                    return store(np.power(base.astype(np.float64), exp), dtype, out)
                return store(np.power(base, exp.astype(base.dtype)), dtype, out)
            if base.dtype.kind in "iu":
                return store(np.power(base.astype(np.float64), exp), dtype, out)
            if exp.dtype.kind in "iu":
                exp = exp.astype(np.float64)
            # Some versions of NumPy take the root of -infinity and -0, too, where powers are infinity and 0.
            if exp.size == 1 and exp.ndim <= base.ndim and exp.reshape(()) == 0.5:
                return store(np.where(np.isneginf(base), np.inf, np.sqrt(base + 0)).astype(base.dtype), dtype, out)
            return store(np.power(base, exp), dtype, out)

    return legacy_broadcast(ctx, call)


VARIADIC = {"Sum": np.add, "Max": np.maximum, "Min": np.minimum, "Mean": np.add}


@kernels(VARIADIC, rounded=True, prepare=True, into=True, inplace=(0, 1))
def variadic(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Sum, Max, Min, Mean of any number of inputs; NaN propagates."""
    ufunc = VARIADIC[ctx.node.op]
    mean = ctx.node.op == "Mean"
    dtype = ctx.dtype()
    if len(ctx.inputs) == 2 and not mean:
        return by_ufunc(ufunc)

    def call(*arrays: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(all="ignore"):
            total = functools.reduce(ufunc, map(widen, arrays)) if len(arrays) > 1 else widen(arrays[0])
            if mean:
                total = total / total.dtype.type(len(arrays))
            if out is None and total is arrays[0]:
                return total.copy()
            return store(total, dtype, out)

    return call


@kernel("BitShift", prepare=True, into=True, inplace=(0, 1))
def bit_shift(ctx: KernelContext) -> Binary:
    """BitShift; an amount outside 0..bits-1 leaves only what sign extension gives."""
    ufunc = np.left_shift if ctx.attr("direction") == "LEFT" else np.right_shift

    def call(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        bits = a.dtype.itemsize * 8
        beyond = (b < 0) | (b >= bits)
        if not beyond.any():
            return np.asarray(ufunc(a, b, out=out))
        y = ufunc(a, np.where(beyond, 0, b).astype(b.dtype))
        rest = np.where(a < 0, -1, 0) if ufunc is np.right_shift and a.dtype.kind == "i" else 0
        return store(np.where(beyond, rest, y), a.dtype, out)

    return call
