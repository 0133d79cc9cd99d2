"""QConvNhwc and ConvIntegerToFloat of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.quantised_ops``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels.conv import convolve
from ronn_provider_cpu.quantised_ops import DOMAIN

Array = np.ndarray


def _pairs(pads: Sequence[int]) -> list[tuple[int, int]]:
    rank = len(pads) // 2
    return [(pads[i], pads[i + rank]) for i in range(rank)]


def _sums(x: Array, w: Array, group: int, strides: Any, dilations: Any, pads: Any) -> Array:
    """Exact sums of products of small integers, in float64."""
    return convolve(x.astype(np.float64), w.astype(np.float64), group, strides, dilations, _pairs(pads))


@kernel("QConvNhwc", domain=DOMAIN, prepare=True)
def qconv_nhwc(
    ctx: KernelContext, *, strides: Any, pads: Any, dilations: Any, group: int, x_zero: int, y_zero: int, low: float,
    high: float, add_stage: int,
) -> Callable[..., Array]:  # fmt: skip
    def run(
        x: Array, w: Array, scale: Array, bias: Array, affine: Array | None = None, limits: Array | None = None,
        add: Array | None = None,
    ) -> Array:  # fmt: skip
        shifted = x.transpose(0, 3, 1, 2).astype(np.float64) - x_zero
        total = _sums(shifted, w, group, strides, dilations, pads).transpose(0, 2, 3, 1) + bias
        r = np.rint(np.clip(total.astype(np.float32) * scale, np.float32(low), np.float32(high)))
        for i in range(0 if affine is None or limits is None else len(affine)):
            assert affine is not None and limits is not None
            r = r * affine[i, 0] + affine[i, 1]
            if i == add_stage and add is not None:
                r = r + add.astype(np.float32) * limits[i, 2]
            r = np.rint(np.clip(r, limits[i, 0], limits[i, 1]))
        return np.ascontiguousarray((r + np.float32(y_zero)).astype(np.uint8))

    return run


@kernel("ConvIntegerToFloat", domain=DOMAIN, prepare=True)
def conv_integer_to_float(
    ctx: KernelContext, *, strides: Any, pads: Any, dilations: Any, group: int
) -> Callable[..., Array]:
    def run(
        x: Array,
        w: Array,
        x_scale: Array,
        w_scale: Array,
        x_zero: Array | None = None,
        w_zero: Array | None = None,
        bias: Array | None = None,
    ) -> Array:
        rank = x.ndim - 2
        zeros = 0.0 if w_zero is None else w_zero.reshape(-1, *(1,) * (rank + 1)).astype(np.float64)
        shifted = x.astype(np.float64) - (0.0 if x_zero is None else float(x_zero.reshape(())))
        total = _sums(shifted, w - zeros, group, strides, dilations, pads)
        scale = x_scale.reshape(()) * w_scale.reshape(-1)
        if bias is not None:
            total = total + np.floor(bias / scale).astype(np.float64).reshape(-1, *(1,) * rank)
        return np.asarray(total.astype(np.float32) * scale.reshape(-1, *(1,) * rank), np.float32)

    return run
