"""Comparison, logical and bitwise operators, and Where."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._numeric import kernels
from ronn_provider_cpu.kernels.arithmetic import by_ufunc, legacy_broadcast

COMPARE = {
    "Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal,
    "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
}  # fmt: skip
BITS = {
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
}  # fmt: skip


@kernels(COMPARE, prepare=True, into=True)
def compare(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Operators of ``COMPARE``, on numbers, bools and (Equal) strings."""
    return legacy_broadcast(ctx, by_ufunc(COMPARE[ctx.node.op]))


@kernels(BITS, prepare=True, into=True, inplace=(0, 1))
def bits(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """Operators of ``BITS``."""
    return legacy_broadcast(ctx, by_ufunc(BITS[ctx.node.op]))


@kernel("Where", into=True)
def where(
    ctx: KernelContext, condition: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Where: x where the condition holds, else y; all three broadcast."""
    if out is None:
        return np.where(condition, x, y)
    np.copyto(out, y)
    np.copyto(out, x, where=condition)
    return out
