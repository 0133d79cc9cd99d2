"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ronn.ir.types import DType
from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._common import HALF
from ronn_provider_cpu.kernels._quant import saturate as _saturate
from ronn_provider_cpu.kernels._quant import spread

_E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
_SCALES = "float32 float16 bfloat16 float64 int32 float8_e8m0fnu"


def _compute_dtype(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float32) if dtype in HALF or dtype == _E8M0 or dtype.kind in "iu" else dtype


@kernel("QuantizeLinear", dtypes=_SCALES, prepare=True)
@kernel("QuantizeLinear", domain="com.microsoft", dtypes=_SCALES, prepare=True)
def quantize_linear(
    ctx: KernelContext, *, axis: Any, block_size: Any, output_dtype: Any, precision: Any, saturate: Any
) -> Callable[..., np.ndarray]:
    if ctx.node.input(2) is not None:
        target = None
    elif output_dtype:
        target = DType.from_code(int(output_dtype)).numpy
    else:
        target = np.dtype(np.uint8)
    along = 1 if axis is None else int(axis)
    block = 0 if block_size is None else int(block_size)
    saturating = saturate is None or bool(saturate)
    divide_in = DType.from_code(int(precision)).numpy if precision else None

    def run(x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
        dtype = target if zero is None or target is not None else zero.dtype
        assert dtype is not None
        # The scale's type is the precision of the division; half types are divided wider and rounded.
        rounded = divide_in if divide_in is not None else scale.dtype
        laid = spread(scale, x.shape, along, block)
        if rounded in HALF:
            with np.errstate(all="ignore"):
                y = (x.astype(rounded) / laid.astype(rounded)).astype(np.float32)
        else:
            work = _compute_dtype(rounded)
            with np.errstate(all="ignore"):
                y = x.astype(work, copy=False) / laid.astype(work)
        offset = None if zero is None else spread(zero, x.shape, along, block).astype(np.float32)
        return _saturate(y, offset, dtype, saturating)

    return run


def _dequantize(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int, block: int, out: np.dtype
) -> np.ndarray:
    work = np.dtype(np.float64) if out == np.float64 else np.dtype(np.float32)
    y: Any
    if zero is not None and x.dtype.kind in "iu" and x.dtype.itemsize <= 2:
        y = (x.astype(np.int32) - spread(zero, x.shape, axis, block).astype(np.int32)).astype(work)
    else:
        y = x.astype(work)
        if zero is not None:
            y -= spread(zero, x.shape, axis, block).astype(work)
    y *= spread(scale, x.shape, axis, block).astype(work)
    return y.astype(out, copy=False)


@kernel("DequantizeLinear", prepare=True)
@kernel("DequantizeLinear", domain="com.microsoft", prepare=True)
def dequantize_linear(
    ctx: KernelContext, *, axis: Any, block_size: Any, output_dtype: Any
) -> Callable[..., np.ndarray]:
    along = 1 if axis is None else int(axis)
    block = 0 if block_size is None else int(block_size)
    target = DType.from_code(int(output_dtype)).numpy if output_dtype else None
    q, s, z = ctx.const(0), ctx.const(1), ctx.const(2)
    if q is not None and s is not None and (z is not None or ctx.node.input(2) is None):
        ready = _dequantize(q, s, z, along, block, target if target is not None else s.dtype)
        return lambda *_: ready.copy()  # the plan may write over what a call returned

    def run(x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None) -> np.ndarray:
        return _dequantize(x, scale, zero, along, block, target if target is not None else scale.dtype)

    return run


def quantize_dynamically(x: np.ndarray) -> tuple[np.ndarray, np.float32, np.uint8]:
    """uint8 values, scale and zero point of a float array, range taken from its minimum and maximum (0 included)."""
    if x.size == 0:
        return x.astype(np.uint8), np.float32(1.0), np.uint8(0)
    low = np.float32(min(0.0, float(x.min())))
    high = np.float32(max(0.0, float(x.max())))
    scale = np.float32((high - low) / np.float32(255)) if high != low else np.float32(1.0)
    if not scale > 0:
        scale = np.float32(1.0)
    zero = np.rint(np.clip(-low / scale, np.float32(0), np.float32(255)))
    y = np.divide(x, scale, dtype=np.float32)
    np.rint(y, out=y)
    y += zero
    np.clip(y, 0, 255, out=y)
    return y.astype(np.uint8), scale, np.uint8(zero)


@kernel("DynamicQuantizeLinear", dtypes="float32")
def dynamic_quantize_linear(ctx: KernelContext, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, scale, zero = quantize_dynamically(x)
    return y, np.asarray(scale), np.asarray(zero)
