"""Reference kernels: quantised elementwise operators and pools, computed in float32."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ops.contrib.dense import MS, attributes, onnx_op, softmax
from ronn.provider import KernelContext, kernel

Array = np.ndarray


def real(x: Array, scale: Array, zero: Array | None) -> Array:
    """float32 values of a quantised tensor."""
    return (x.astype(np.int32) - (0 if zero is None else zero.astype(np.int32))) * scale.astype(np.float32)


def quantise(x: Array, scale: Array, zero: Array | None, like: np.dtype) -> Array:
    """``x / scale + zero``, rounded half to even and clipped to the range of ``like``."""
    info = np.iinfo(like)
    shifted = np.rint(x / scale.astype(np.float32)) + (0 if zero is None else int(zero.reshape(())))
    return np.clip(shifted, info.min, info.max).astype(like)


@kernel("QLinearAdd", domain=MS)
@kernel("QLinearMul", domain=MS)
def binary(
    ctx: KernelContext, a: Array, a_scale: Array, a_zero: Array | None, b: Array, b_scale: Array, b_zero: Array | None,
    c_scale: Array, c_zero: Array | None = None,
) -> Array:  # fmt: skip
    left, right = real(a, a_scale, a_zero), real(b, b_scale, b_zero)
    return quantise(left + right if ctx.node.op == "QLinearAdd" else left * right, c_scale, c_zero, a.dtype)


@kernel("QLinearSigmoid", domain=MS)
def sigmoid(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None
) -> Array:
    return quantise(1 / (1 + np.exp(-real(x, x_scale, x_zero))), y_scale, y_zero, x.dtype)


@kernel("QLinearLeakyRelu", domain=MS)
def leaky_relu(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None,
    *, alpha: float,
) -> Array:  # fmt: skip
    v = real(x, x_scale, x_zero)
    return quantise(np.where(v >= 0, v, v * np.float32(alpha)), y_scale, y_zero, x.dtype)


@kernel("QLinearSoftmax", domain=MS)
def quantised_softmax(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array,
    *, axis: int, opset: int,
) -> Array:  # fmt: skip
    v = real(x, x_scale, x_zero)
    if opset < 13:
        at = axis % x.ndim
        out = softmax(v.reshape(int(np.prod(x.shape[:at])), -1)).reshape(x.shape)
    else:
        out = softmax(v, axis)
    return quantise(out, y_scale, y_zero, x.dtype)


@kernel("QLinearConcat", domain=MS)
def concat(ctx: KernelContext, y_scale: Array, y_zero: Array, *parts: Any, axis: int) -> Array:
    triples = zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    joined = np.concatenate([real(*t) for t in triples], axis=axis)
    return quantise(joined, y_scale, y_zero, y_zero.dtype)


@kernel("QLinearWhere", domain=MS)
def where(
    ctx: KernelContext, condition: Array, x: Array, x_scale: Array, x_zero: Array, y: Array, y_scale: Array,
    y_zero: Array, z_scale: Array, z_zero: Array,
) -> Array:  # fmt: skip
    return quantise(np.where(condition, real(x, x_scale, x_zero), real(y, y_scale, y_zero)), z_scale, z_zero, x.dtype)


@kernel("QLinearAveragePool", domain=MS)
def average_pool(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None,
    *, channels_last: int,
) -> Array:  # fmt: skip
    v = real(x, x_scale, x_zero)
    v = np.moveaxis(v, -1, 1) if channels_last else v
    out = onnx_op("AveragePool", v, **attributes(ctx, "channels_last"))
    return quantise(np.moveaxis(out, 1, -1) if channels_last else out, y_scale, y_zero, x.dtype)


@kernel("QLinearGlobalAveragePool", domain=MS)
def global_average_pool(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array,
    *, channels_last: int,
) -> Array:  # fmt: skip
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    return quantise(real(x, x_scale, x_zero).mean(axis=axes, keepdims=True, dtype=np.float32), y_scale, y_zero, x.dtype)


@kernel("NhwcMaxPool", domain=MS)
def nhwc_max_pool(ctx: KernelContext, x: Array) -> Array:
    return np.moveaxis(onnx_op("MaxPool", np.moveaxis(x, -1, 1), **attributes(ctx)), 1, -1)


@kernel("QuantizeLinear", domain=MS)
def quantize_linear(
    ctx: KernelContext, x: Array, scale: Array, zero: Array | None = None, *, axis: int | None, block_size: int
) -> Array:
    point = np.zeros(scale.shape, np.uint8) if zero is None else zero
    return onnx_op("QuantizeLinear", x, scale, point, axis=1 if axis is None else axis, block_size=block_size)


@kernel("DequantizeLinear", domain=MS)
def dequantize_linear(
    ctx: KernelContext, x: Array, scale: Array, zero: Array | None = None, *, axis: int | None, block_size: int
) -> Array:
    inputs: Sequence[Array] = (x, scale) if zero is None else (x, scale, zero)
    return onnx_op("DequantizeLinear", *inputs, axis=1 if axis is None else axis, block_size=block_size)
