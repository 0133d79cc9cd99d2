"""Quantised elementwise operators and pools of com.microsoft, computed in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._activations import sigmoid
from ronn_provider_cpu.kernels._quant import saturate
from ronn_provider_cpu.kernels.pool import average_pool, max_pool
from ronn_provider_cpu.kernels.softmax import softmax_last

Array = np.ndarray
MS = "com.microsoft"
_BYTES = {"T": "int8 uint8"}


def real(x: Array, scale: Array, zero: Array | None) -> Array:
    """The float32 values of a quantised tensor."""
    y = x.astype(np.float32)
    if zero is not None:
        y -= zero.astype(np.float32)
    y *= scale
    return y


def quantise(x: Array, scale: Array, zero: Array | None, dtype: np.dtype) -> Array:
    """``x / scale + zero``, rounded half to even, in the range of ``dtype``."""
    return saturate(x / scale, zero, dtype)


@kernel("QLinearAdd", domain=MS, dtypes=_BYTES)
@kernel("QLinearMul", domain=MS, dtypes=_BYTES)
def qlinear_binary(
    ctx: KernelContext,
    a: Array,
    a_scale: Array,
    a_zero: Array | None,
    b: Array,
    b_scale: Array,
    b_zero: Array | None,
    c_scale: Array,
    c_zero: Array | None = None,
) -> Array:
    left, right = real(a, a_scale, a_zero), real(b, b_scale, b_zero)
    return quantise(left + right if ctx.node.op == "QLinearAdd" else left * right, c_scale, c_zero, a.dtype)


@kernel("QLinearSigmoid", domain=MS, dtypes=_BYTES)
def qlinear_sigmoid(
    ctx: KernelContext, x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None
) -> Array:
    return quantise(sigmoid(real(x, x_scale, x_zero)), y_scale, y_zero, x.dtype)


@kernel("QLinearLeakyRelu", domain=MS, dtypes=_BYTES)
def qlinear_leaky_relu(
    ctx: KernelContext,
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array | None = None,
    *,
    alpha: float,
) -> Array:
    v = real(x, x_scale, x_zero)
    return quantise(np.where(v >= 0, v, v * np.float32(alpha)), y_scale, y_zero, x.dtype)


@kernel("QLinearSoftmax", domain=MS, dtypes=_BYTES)
def qlinear_softmax(
    ctx: KernelContext,
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array,
    *,
    axis: int,
    opset: int,
) -> Array:
    v = real(x, x_scale, x_zero)
    if opset < 13:
        v = softmax_last(v.reshape(int(np.prod(x.shape[: axis % x.ndim])), -1)).reshape(x.shape)
    else:
        v = softmax_last(v, axis)
    return quantise(v, y_scale, y_zero, x.dtype)


@kernel("QLinearConcat", domain=MS)
def qlinear_concat(ctx: KernelContext, y_scale: Array, y_zero: Array, *parts: Any, axis: int) -> Array:
    triples = zip(parts[0::3], parts[1::3], parts[2::3], strict=True)
    return quantise(np.concatenate([real(*t) for t in triples], axis=axis), y_scale, y_zero, y_zero.dtype)


@kernel("QLinearWhere", domain=MS, dtypes=_BYTES)
def qlinear_where(
    ctx: KernelContext,
    condition: Array,
    x: Array,
    x_scale: Array,
    x_zero: Array,
    y: Array,
    y_scale: Array,
    y_zero: Array,
    z_scale: Array,
    z_zero: Array,
) -> Array:
    chosen = np.where(condition, real(x, x_scale, x_zero), real(y, y_scale, y_zero))
    return quantise(chosen, z_scale, z_zero, x.dtype)


def _channels_first(fn: Callable[[Array], Array], last: bool) -> Callable[[Array], Array]:
    return (lambda x: np.moveaxis(fn(np.moveaxis(x, -1, 1)), 1, -1)) if last else fn


@kernel("QLinearAveragePool", domain=MS, dtypes=_BYTES, prepare=True)
def qlinear_average_pool(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    ceil_mode: Any,
    channels_last: Any,
    count_include_pad: Any,
    kernel_shape: Any,
    pads: Any,
    strides: Any,
) -> Callable[..., Array]:
    plain = average_pool(
        ctx, auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad, dilations=None,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    pool = _channels_first(plain, bool(channels_last))

    def run(x: Array, x_scale: Array, x_zero: Array | None, y_scale: Array, y_zero: Array | None = None) -> Array:
        return quantise(pool(real(x, x_scale, x_zero)), y_scale, y_zero, x.dtype)

    return run


@kernel("QLinearGlobalAveragePool", domain=MS, dtypes=_BYTES)
def qlinear_global_average_pool(
    ctx: KernelContext,
    x: Array,
    x_scale: Array,
    x_zero: Array | None,
    y_scale: Array,
    y_zero: Array | None = None,
    *,
    channels_last: Any,
) -> Array:
    axes = tuple(range(1, x.ndim - 1)) if channels_last else tuple(range(2, x.ndim))
    return quantise(real(x, x_scale, x_zero).mean(axis=axes, keepdims=True), y_scale, y_zero, x.dtype)


@kernel("NhwcMaxPool", domain=MS, dtypes=_BYTES, prepare=True)
def nhwc_max_pool(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    ceil_mode: Any,
    dilations: Any,
    kernel_shape: Any,
    pads: Any,
    strides: Any,
) -> Callable[..., Array]:
    plain = max_pool(
        ctx, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, kernel_shape=kernel_shape, pads=pads,
        storage_order=0, strides=strides,
    )  # fmt: skip
    return _channels_first(plain, True)
