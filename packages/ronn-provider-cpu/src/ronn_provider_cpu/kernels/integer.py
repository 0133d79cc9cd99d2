"""Integer products: MatMulInteger, QLinearMatMul, ConvInteger, QLinearConv. Sums are exact, through BLAS."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_cpu.kernels._quant import exact_matmul, saturate
from ronn_provider_cpu.kernels.conv import convolve

_BYTES = "int8 uint8"


def shift(x: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    """x - zero point, in float32 (exact for 8-bit values)."""
    y = x.astype(np.float32)
    if zero is not None and np.any(zero):
        y -= zero.astype(np.float32)
    return y


def _rows(zero: np.ndarray | None) -> np.ndarray | None:
    """A zero point of A: a scalar, one per row, or already of A's rank."""
    return zero[:, None] if zero is not None and zero.ndim == 1 and zero.size > 1 else zero


def _plain(zero: np.ndarray | None) -> np.ndarray | None:
    return zero.reshape(()) if zero is not None and zero.size == 1 else zero


def _bound(b: np.ndarray) -> float:
    """The largest sum of |a * b| that 8-bit A can make with ``b`` (..., K, N)."""
    return 0.0 if b.size == 0 else 255.0 * float(np.abs(b).sum(axis=-2, dtype=np.float64).max())


class RightHand:
    """B less its zero point, with the bound on sums; made once when both are constants."""

    def __init__(self, ctx: KernelContext, index: int, zero_index: int) -> None:
        self.ready: tuple[np.ndarray, float] | None = None
        b, zero = ctx.const(index), ctx.const(zero_index)
        if b is not None and (zero is not None or ctx.node.input(zero_index) is None):
            self.ready = self.make(b, zero)

    @staticmethod
    def make(b: np.ndarray, zero: np.ndarray | None) -> tuple[np.ndarray, float]:
        shifted = shift(b, _plain(zero))
        bound = _bound(shifted if shifted.ndim > 1 else shifted[:, None])
        return (shifted if bound < 2**24 else shifted.astype(np.float64)), bound

    def __call__(self, b: np.ndarray, zero: np.ndarray | None) -> tuple[np.ndarray, float]:
        return self.make(b, zero) if self.ready is None else self.ready


def product(a: np.ndarray, b: np.ndarray, bound: float) -> np.ndarray:
    if a.ndim > 2 and b.ndim == 2:
        rows = math.prod(a.shape[:-1])
        return exact_matmul(a.reshape(rows, a.shape[-1]), b, bound).reshape(*a.shape[:-1], b.shape[1])
    return exact_matmul(a, b, bound)


@kernel("MatMulInteger", dtypes={"T1": _BYTES, "T2": _BYTES}, prepare=True)
def matmul_integer(ctx: KernelContext) -> Callable[..., np.ndarray]:
    right = RightHand(ctx, 1, 3)

    def run(
        a: np.ndarray, b: np.ndarray, a_zero: np.ndarray | None = None, b_zero: np.ndarray | None = None
    ) -> np.ndarray:
        shifted, bound = right(b, b_zero)
        return product(shift(a, _rows(_plain(a_zero))), shifted, bound)

    return run


@kernel("QLinearMatMul", dtypes={"T1": _BYTES, "T2": _BYTES, "T3": _BYTES}, prepare=True)
@kernel("QLinearMatMul", dtypes={"": _BYTES}, until=20, prepare=True)
def qlinear_matmul(ctx: KernelContext) -> Callable[..., np.ndarray]:
    right = RightHand(ctx, 3, 5)

    def run(
        a: np.ndarray,
        a_scale: np.ndarray,
        a_zero: np.ndarray,
        b: np.ndarray,
        b_scale: np.ndarray,
        b_zero: np.ndarray,
        y_scale: np.ndarray,
        y_zero: np.ndarray,
    ) -> np.ndarray:
        shifted, bound = right(b, b_zero)
        total = product(shift(a, _rows(_plain(a_zero))), shifted, bound)
        a_factor = _rows(_plain(a_scale.astype(np.float32)))
        assert a_factor is not None
        factor = a_factor * _plain(b_scale.astype(np.float32)) / _rows(_plain(y_scale.astype(np.float32)))
        return saturate(total.astype(np.float32) * factor, _rows(_plain(y_zero)), y_zero.dtype)

    return run


def _convolve_exactly(
    x: np.ndarray, w: np.ndarray, w_bound: float, auto_pad: Any, dilations: Any, group: Any, pads: Any, strides: Any
) -> np.ndarray:
    """Integer convolution of shifted values: int32 (N, M, spatial...)."""
    rank = x.ndim - 2
    s, d = ints(strides, rank, 1), ints(dilations, rank, 1)
    resolved = resolve_pads(auto_pad, pads, x.shape[2:], w.shape[2:], s, d)
    dtype = np.float32 if w_bound < 2**24 else np.float64
    y = convolve(
        x.astype(dtype, copy=False), w.astype(dtype, copy=False), 1 if group is None else int(group), s, d, resolved
    )
    return y.astype(np.int32) if w_bound < 2**31 else y.astype(np.int64).astype(np.int32)


def _shift_weights(w: np.ndarray, zero: np.ndarray | None) -> tuple[np.ndarray, float]:
    zero = _plain(zero)
    if zero is not None and zero.ndim == 1:
        zero = zero.reshape(-1, *(1,) * (w.ndim - 1))
    shifted = shift(w, zero)
    sums = np.abs(shifted).reshape(w.shape[0], -1).sum(axis=1, dtype=np.float64)
    return shifted, 255.0 * float(sums.max(initial=0.0))


class _Weights:
    """Convolution weights less their zero point; made once when both are constants."""

    def __init__(self, ctx: KernelContext, index: int, zero_index: int) -> None:
        self.ready: tuple[np.ndarray, float] | None = None
        w, zero = ctx.const(index), ctx.const(zero_index)
        if w is not None and (zero is not None or ctx.node.input(zero_index) is None):
            self.ready = _shift_weights(w, zero)

    def __call__(self, w: np.ndarray, zero: np.ndarray | None) -> tuple[np.ndarray, float]:
        return _shift_weights(w, zero) if self.ready is None else self.ready


@kernel("ConvInteger", dtypes={"T1": _BYTES, "T2": _BYTES}, prepare=True)
def conv_integer(
    ctx: KernelContext, *, auto_pad: Any, dilations: Any, group: Any, pads: Any, strides: Any
) -> Callable[..., np.ndarray]:
    weights = _Weights(ctx, 1, 3)

    def run(
        x: np.ndarray, w: np.ndarray, x_zero: np.ndarray | None = None, w_zero: np.ndarray | None = None
    ) -> np.ndarray:
        shifted, bound = weights(w, w_zero)
        return _convolve_exactly(shift(x, _plain(x_zero)), shifted, bound, auto_pad, dilations, group, pads, strides)

    return run


@kernel("QLinearConv", dtypes={"T1": _BYTES, "T2": _BYTES, "T3": _BYTES}, prepare=True)
def qlinear_conv(
    ctx: KernelContext, *, auto_pad: Any, dilations: Any, group: Any, pads: Any, strides: Any
) -> Callable[..., np.ndarray]:
    weights = _Weights(ctx, 3, 5)

    def run(
        x: np.ndarray,
        x_scale: np.ndarray,
        x_zero: np.ndarray,
        w: np.ndarray,
        w_scale: np.ndarray,
        w_zero: np.ndarray,
        y_scale: np.ndarray,
        y_zero: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> np.ndarray:
        shifted, bound = weights(w, w_zero)
        total = _convolve_exactly(shift(x, _plain(x_zero)), shifted, bound, auto_pad, dilations, group, pads, strides)
        if bias is not None:
            total += bias.reshape(-1, *(1,) * (x.ndim - 2))
        factor = x_scale.reshape(()) * w_scale / y_scale.reshape(())
        if factor.size > 1:
            factor = factor.reshape(-1, *(1,) * (x.ndim - 2))
        return saturate(total.astype(np.float32) * factor.astype(np.float32), y_zero.reshape(()), y_zero.dtype)

    return run
