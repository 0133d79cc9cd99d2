"""CDist of com.microsoft."""

from __future__ import annotations

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._common import float_kernel

_BLOCK = 1 << 18  # elements of the differences held at a time


@float_kernel("CDist", domain="com.microsoft")
def cdist(ctx: KernelContext, a: np.ndarray, b: np.ndarray, *, metric: str) -> np.ndarray:
    """Distances ``[rows of a, rows of b]``, or their squares (``sqeuclidean``), from differences: near points keep
    their digits."""
    if metric not in ("euclidean", "sqeuclidean"):
        raise ValueError(f"unknown metric {metric!r}")
    out = np.empty((a.shape[0], b.shape[0]), a.dtype)
    step = max(1, _BLOCK // max(1, b.size))
    for i in range(0, a.shape[0], step):
        out[i : i + step] = np.square(a[i : i + step, None] - b).sum(axis=-1)
    return np.sqrt(out) if metric == "euclidean" else out
