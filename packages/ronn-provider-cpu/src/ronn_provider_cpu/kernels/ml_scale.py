"""ai.onnx.ml: Scaler, Normalizer, Imputer, Binarizer."""

from __future__ import annotations

import numpy as np

from ronn.provider.kernels import KernelContext, kernel

ML = "ai.onnx.ml"


@kernel("Scaler", domain=ML)
def scaler(ctx: KernelContext, x: np.ndarray, *, offset: list[float] | None, scale: list[float] | None) -> np.ndarray:
    """Scaler: (x - offset) scale, in float32; each one value or one a column."""
    wide = x.astype(np.float64 if x.dtype == np.float64 else np.float32, copy=False)
    moved = wide - np.asarray(0 if offset is None else offset, np.float32)
    return (moved * np.asarray(1 if scale is None else scale, np.float32)).astype(np.float32, copy=False)


@kernel("Normalizer", domain=ML)
def normalizer(ctx: KernelContext, x: np.ndarray, *, norm: str) -> np.ndarray:
    """Normalizer: rows divided by their maximum, L1 or L2 norm; a row whose norm is 0 stays."""
    y = x.astype(np.float32)
    with np.errstate(all="ignore"):
        if norm == "MAX":
            size = np.max(y, axis=-1, keepdims=True)
        elif norm == "L1":
            size = np.sum(np.abs(y), axis=-1, keepdims=True)
        else:
            size = np.sqrt(np.sum(np.square(y), axis=-1, keepdims=True))
        return np.where(size == 0, y, y / size)


@kernel("Imputer", domain=ML)
def imputer(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """Imputer: elements that equal the replaced value (NaN too) become the imputed one."""
    if x.dtype.kind == "f":
        values, replaced = ctx.attr("imputed_value_floats"), ctx.attr("replaced_value_float", 0.0)
    else:
        values, replaced = ctx.attr("imputed_value_int64s"), ctx.attr("replaced_value_int64", 0)
    missing = np.isnan(x) if replaced != replaced else x == x.dtype.type(replaced)
    return np.where(missing, np.asarray(values, x.dtype), x)


@kernel("Binarizer", domain=ML)
def binarizer(ctx: KernelContext, x: np.ndarray, *, threshold: float) -> np.ndarray:
    """Binarizer: 1 above the threshold, else 0."""
    return (x > threshold).astype(x.dtype)
