"""QuantizeLinear and DequantizeLinear before opset 19, which ``onnx.reference`` leaves out."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import numpy as np

from ronn.provider import KernelContext, kernel


def _along(ctx: KernelContext, parameter: np.ndarray, rank: int) -> np.ndarray:
    """A scale or zero point of one value an index of the axis, shaped to broadcast over the operand."""
    if parameter.ndim == 0 or parameter.size == 1:
        return parameter.reshape(())
    shape = [1] * rank
    shape[ctx.attr("axis", 1)] = -1
    return parameter.reshape(shape)


@kernel("DequantizeLinear", until=13)
def dequantize_linear(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """(x - zero) * scale in float32."""
    wide = x.astype(np.int64)
    if zero is not None:
        wide = wide - _along(ctx, zero.astype(np.int64), x.ndim)
    return wide.astype(np.float32) * _along(ctx, scale, x.ndim)


@kernel("QuantizeLinear", until=13)
def quantize_linear(
    ctx: KernelContext, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None
) -> np.ndarray:
    """round(x / scale) + zero, halves to even, saturated to the type of the zero point (uint8 without one)."""
    dtype = np.dtype(np.uint8) if zero is None else zero.dtype
    rounded = np.rint(x.astype(np.float32) / _along(ctx, scale, x.ndim))
    if zero is not None:
        rounded = rounded + _along(ctx, zero.astype(np.float32), x.ndim)
    limits = np.iinfo(dtype)
    return np.clip(rounded, limits.min, limits.max).astype(dtype)
