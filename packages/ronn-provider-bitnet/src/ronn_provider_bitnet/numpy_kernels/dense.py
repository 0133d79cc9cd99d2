"""BitLinear in NumPy: what the native kernels are held against, and what runs where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.kernels._activations import activate, activation

Array = np.ndarray
TOPS = {1: 127.0, 2: 32639.0}


def quantised(x: Array, planes: int, least: float) -> tuple[Array, Array]:
    """Rows of f32[M, K] as integers (int64), and what one step of each row stands for (f32[M, 1])."""
    peak = np.maximum(np.abs(x).max(axis=1, keepdims=True, initial=0), np.float32(least if planes == 1 else 0))
    finite = np.isfinite(peak)
    top = np.float32(TOPS[planes])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.where(finite & (peak > 0), top / peak, np.float32(0)).astype(np.float32)
        step = np.where(finite, peak / top, np.float32(np.nan)).astype(np.float32)
        whole = np.rint(np.where(finite, x, np.float32(0)) * factor)
    return whole.astype(np.int64), step


def integers(codes: Array, bits: int, zero: int) -> Array:
    """What codes stand for, without the scale."""
    return 2 * codes.astype(np.int64) - 1 if bits == 1 else codes.astype(np.int64) - zero


@kernel("BitLinear", domain=DOMAIN, prepare=True)
def bit_linear(
    ctx: KernelContext, *, bits: int, zero: int, group: int, planes: int, least: float, activation_params: Any
) -> Callable[..., Array]:
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def call(
        x: Array, codes: Array, scale: Array, bias: Array | None = None, offset: Array | None = None
    ) -> Array:
        n, k = codes.shape
        rows = x.reshape(-1, k)
        whole, step = quantised(rows, planes, least)
        weights = integers(codes, bits, zero) if offset is None else codes.astype(np.int64)
        y = np.zeros((len(rows), n), np.float32)
        width = group if group else max(k, 1)
        for g in range(scale.shape[1]):
            part = slice(g * width, (g + 1) * width)
            y += (whole[:, part] @ weights[:, part].T).astype(np.float32) * scale[:, g]
            if offset is not None:
                y += whole[:, part].sum(axis=1, keepdims=True).astype(np.float32) * offset[:, g]
        y *= step
        if bias is not None:
            y += bias
        return activate(y.reshape(*x.shape[:-1], n), act)

    return call
