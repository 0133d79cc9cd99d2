"""SignLinear and SignConv in NumPy: products of -1, 0 and 1, whose sums float32 holds exactly up to 2 ** 24 of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import ronn_provider_bitnet.sign_ops  # noqa: F401  # declares the operators
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.kernels._activations import activate, activation
from ronn_provider_cpu.kernels.conv import add_bias, convolve

Array = np.ndarray


def signs(x: Array, zero: int, nan: int) -> Array:
    """-1, 0 or 1 of each element; NaN where it is NaN and ``nan`` is 0."""
    found = np.where(x > 0, np.float32(1), np.where(x < 0, np.float32(-1), np.float32(zero)))
    return np.where(np.isnan(x), np.float32(nan if nan else np.nan), found).astype(np.float32)


def _weights(codes: Array) -> Array:
    return codes.astype(np.float32) * np.float32(2) - np.float32(1)


@kernel("SignLinear", domain=DOMAIN, prepare=True)
def sign_linear(ctx: KernelContext, *, zero: int, nan: int, mean: int, activation_params: Any) -> Callable[..., Array]:
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def call(x: Array, codes: Array, scale: Array, bias: Array | None = None) -> Array:
        n, k = codes.shape
        rows = x.reshape(-1, k)
        with np.errstate(invalid="ignore", over="ignore"):
            given = signs(rows, zero, nan)
            y = (given @ _weights(codes).T) * scale
            if mean:
                factor = np.abs(rows).mean(axis=1, keepdims=True, dtype=np.float32)
                # Infinities of both signs, or a zero times one, are NaN: only sums of one sign alone are infinite.
                one_sign = np.abs(y) == np.float32(k) * np.abs(scale)
                y = np.where(np.isinf(factor) & ~one_sign, np.float32(np.nan), y * factor)
            if bias is not None:
                y = y + bias
        return activate(y.reshape(*x.shape[:-1], n), act)

    return call


@kernel("SignConv", domain=DOMAIN, prepare=True)
def sign_conv(
    ctx: KernelContext, *, zero: int, nan: int, auto_pad: Any, dilations: Any, pads: Any, strides: Any,
    activation_params: Any,
) -> Callable[..., Array]:  # fmt: skip
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def call(x: Array, codes: Array, scale: Array, bias: Array | None = None) -> Array:
        rank = x.ndim - 2
        steps, spread = ints(strides, rank, 1), ints(dilations, rank, 1)
        around = resolve_pads(auto_pad, pads, x.shape[2:], codes.shape[2:], steps, spread)
        y = convolve(signs(x, zero, nan), _weights(codes), 1, steps, spread, around)
        y *= scale.reshape(-1, *(1,) * rank)
        return activate(add_bias(y, bias), act)

    return call
