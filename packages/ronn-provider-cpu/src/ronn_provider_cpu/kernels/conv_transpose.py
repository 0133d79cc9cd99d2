"""ConvTranspose: one matmul to every tap's contribution, then strided sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext
from ronn_codegen.windows import ints, transposed_geometry
from ronn_provider_cpu.kernels._common import float_kernel
from ronn_provider_cpu.kernels._spatial import pad_spatial, tap_slices, taps
from ronn_provider_cpu.kernels.conv import add_bias


@float_kernel("ConvTranspose", prepare=True)
def conv_transpose(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    dilations: Any,
    group: Any,
    output_padding: Any,
    output_shape: Any,
    pads: Any,
    strides: Any,
) -> Callable[..., np.ndarray]:
    groups = 1 if group is None else int(group)

    def run(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        sizes, rank = x.shape[2:], x.ndim - 2
        s, d = ints(strides, rank, 1), ints(dilations, rank, 1)
        begins, outs = transposed_geometry(
            sizes, w.shape[2:], s, d, auto_pad, pads, ints(output_padding, rank, 0), output_shape
        )
        return add_bias(transposed(x, w, groups, s, d, begins, outs), bias)

    return run


def transposed(
    x: np.ndarray,
    w: np.ndarray,
    groups: int,
    s: Sequence[int],
    d: Sequence[int],
    begins: Sequence[int],
    outs: Sequence[int],
) -> np.ndarray:
    """The transposed convolution without bias, with strides s and dilations d. x: (N, C, spatial...), w: (C, M/group,
    kernel...) -> (N, M, *outs)."""
    n, c, *sizes = x.shape
    per_group, kernel, rank = w.shape[1], w.shape[2:], len(sizes)
    full = [s[i] * (sizes[i] - 1) + (kernel[i] - 1) * d[i] + 1 if sizes[i] else 0 for i in range(rank)]
    weights = w.reshape(groups, c // groups, -1).transpose(0, 2, 1)
    terms = np.matmul(weights, x.reshape(n, groups, c // groups, -1))
    terms = terms.reshape(n, groups * per_group, *kernel, *sizes)
    y = np.zeros((n, groups * per_group, *full), x.dtype)
    for tap in taps(kernel):
        y[(..., *tap_slices(tap, sizes, s, d))] += terms[(slice(None), slice(None), *tap)]
    return pad_spatial(y, [(-b, o - (f - b)) for b, o, f in zip(begins, outs, full, strict=True)])
