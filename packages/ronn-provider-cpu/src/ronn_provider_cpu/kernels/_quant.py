"""Shared by quantised kernels: laying scales along an axis or in blocks, saturating, and exact integer products."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

_INTEGER_RANGE = {
    np.dtype(np.uint8): (0, 255),
    np.dtype(np.int8): (-128, 127),
    np.dtype(np.uint16): (0, 65535),
    np.dtype(np.int16): (-32768, 32767),
    np.dtype(ml_dtypes.uint4): (0, 15),
    np.dtype(ml_dtypes.int4): (-8, 7),
    np.dtype(ml_dtypes.uint2): (0, 3),
    np.dtype(ml_dtypes.int2): (-2, 1),
    np.dtype(np.int32): (-(2**31), 2**31 - 1),
}
_FLOAT8_INFINITE = {np.dtype(ml_dtypes.float8_e5m2)}
_FLOAT8 = {
    np.dtype(ml_dtypes.float8_e4m3fn),
    np.dtype(ml_dtypes.float8_e4m3fnuz),
    np.dtype(ml_dtypes.float8_e5m2),
    np.dtype(ml_dtypes.float8_e5m2fnuz),
}
_FLOAT4 = np.dtype(ml_dtypes.float4_e2m1fn)


def spread(p: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """A scale or zero point so that it broadcasts over ``shape``: per tensor, per axis, or per block of ``axis``."""
    if p.size == 1 and not block:
        return p.reshape(())
    axis = axis % max(len(shape), 1)
    if block:
        wide = np.repeat(p, block, axis=axis)
        at = [slice(None)] * wide.ndim
        at[axis] = slice(0, shape[axis])
        return wide[tuple(at)]
    if p.ndim == 1:
        return p.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return p


def saturate(x: np.ndarray, zero: Any, dtype: np.dtype, saturating: bool = True) -> np.ndarray:
    """``x + zero`` rounded half to even (integers) and brought into the range of ``dtype``."""
    if dtype in _INTEGER_RANGE:
        low, high = _INTEGER_RANGE[dtype]
        y = np.rint(x)
        if zero is not None:
            y = y + np.asarray(zero).astype(y.dtype)
        # NaN has no integer; it becomes the lowest value.
        y = np.nan_to_num(np.clip(y, low, high), nan=low)
        if dtype.itemsize == 1 and dtype.kind not in "iu":
            return y.astype(np.int8 if low < 0 else np.uint8).astype(dtype)
        return y.astype(dtype)
    if dtype in _FLOAT8:
        return to_float8(x, dtype, saturating)
    if dtype == _FLOAT4:
        return np.asarray(x, np.float32).astype(dtype)
    raise TypeError(f"cannot quantise to {dtype}")


def to_float8(x: np.ndarray, dtype: np.dtype, saturating: bool) -> np.ndarray:
    """``x`` as a float8. Saturating, what is too large becomes the largest finite value, NaN stays NaN."""
    wide = np.asarray(x, np.float32)
    if saturating:
        top = np.float32(ml_dtypes.finfo(dtype).max)
        wide = np.clip(wide, -top, top)
        return wide.astype(dtype)
    return wide.astype(dtype)


def exact_matmul(a: np.ndarray, b: np.ndarray, bound: float) -> np.ndarray:
    """The int32 product of integer-valued arrays through BLAS; ``bound`` limits every sum of magnitudes.

    float32 holds integers exactly up to 2**24, float64 up to 2**53.
    """
    dtype = np.float32 if bound < 2**24 else np.float64
    y = np.matmul(a.astype(dtype, copy=False), b.astype(dtype, copy=False))
    if bound < 2**31:
        return y.astype(np.int32)
    return y.astype(np.int64).astype(np.int32)


def magnitude(dtype: np.dtype) -> int:
    """The largest |x - zero point| of an 8-bit type."""
    return 255 if dtype.itemsize == 1 else 2**16
