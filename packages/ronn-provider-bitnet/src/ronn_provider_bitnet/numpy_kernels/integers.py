"""BitInteger and BitIntegerToFloat in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.kernels._activations import activate, activation

Array = np.ndarray


def less_zero(x: Array, zero: Array | None) -> Array:
    """Rows f64[M, K] of bytes less their zero points: one, or one for each row."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return rows if zero is None else rows - zero.reshape(-1, 1).astype(np.float64)


@kernel("BitInteger", domain=DOMAIN)
def bit_integer(
    ctx: KernelContext, x: Array, codes: Array, base: Array, zero: Array | None = None, *, step: int
) -> Array:
    weights = step * codes.astype(np.float64) + base
    sums = less_zero(x, zero) @ weights.T  # float64 holds every sum
    return sums.astype(np.int64).astype(np.int32).reshape(*x.shape[:-1], len(codes))


@kernel("BitIntegerToFloat", domain=DOMAIN, prepare=True)
def bit_integer_to_float(ctx: KernelContext, *, group: int, activation_params: Any) -> Callable[..., Array]:
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def call(
        x: Array, codes: Array, base: Array, scale: Array, x_scale: Array, zero: Array | None = None,
        bias: Array | None = None,
    ) -> Array:  # fmt: skip
        n, k = codes.shape
        rows, width = less_zero(x, zero), group if group else max(k, 1)
        y = np.zeros((len(rows), n), np.float32)
        for g in range(scale.shape[1]):
            part = slice(g * width, (g + 1) * width)
            weights = codes[:, part].astype(np.float64) + base[:, g : g + 1]
            y += (rows[:, part] @ weights.T).astype(np.float32) * (scale[:, g] * x_scale.reshape(-1))
        if bias is not None:
            y += bias
        return activate(y.reshape(*x.shape[:-1], n), act)

    return call
