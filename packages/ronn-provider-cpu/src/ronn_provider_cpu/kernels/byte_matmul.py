"""ByteMatMul of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.byte_ops``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.byte_ops import DOMAIN
from ronn_provider_cpu.kernels._activations import activate, activation


@kernel("ByteMatMul", domain=DOMAIN, prepare=True)
def byte_matmul(ctx: KernelContext, *, activation_params: Any) -> Callable[..., np.ndarray]:
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)

    def call(x: np.ndarray, w: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        y = x @ (w.astype(np.float32) * scale)
        if bias is not None:
            y += bias
        return activate(y, act)

    return call
