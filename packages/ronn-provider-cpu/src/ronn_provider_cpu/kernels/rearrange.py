"""Space and depth: DepthToSpace, SpaceToDepth, Col2Im. (Element types do not matter.)"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import ints
from ronn_provider_cpu.kernels._common import own
from ronn_provider_cpu.kernels._spatial import pad_spatial, tap_slices, taps


@kernel("DepthToSpace")
def depth_to_space(ctx: KernelContext, x: np.ndarray, *, blocksize: int, mode: Any) -> np.ndarray:
    n, c, h, w = x.shape
    b = blocksize
    if mode == "CRD":
        y = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        y = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    return own(y.reshape(n, c // (b * b), h * b, w * b), x)


@kernel("SpaceToDepth")
def space_to_depth(ctx: KernelContext, x: np.ndarray, *, blocksize: int, mode: Any) -> np.ndarray:
    n, c, h, w = x.shape
    b = blocksize
    y = x.reshape(n, c, h // b, b, w // b, b)
    y = y.transpose(0, 1, 3, 5, 2, 4) if mode == "CRD" else y.transpose(0, 3, 5, 1, 2, 4)
    return own(y.reshape(n, c * b * b, h // b, w // b), x)


@kernel("Col2Im", prepare=True)
def col2im(ctx: KernelContext, *, dilations: Any, pads: Any, strides: Any) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray, image_shape: np.ndarray, block_shape: np.ndarray) -> np.ndarray:
        image, block = [int(v) for v in image_shape], [int(v) for v in block_shape]
        rank = len(image)
        d, s, p = ints(dilations, rank, 1), ints(strides, rank, 1), ints(pads, 2 * rank, 0)
        channels = x.shape[1] // math.prod(block)
        around = [(p[i], p[rank + i]) for i in range(rank)]
        counts = [(image[i] + sum(around[i]) - d[i] * (block[i] - 1) - 1) // s[i] + 1 for i in range(rank)]
        parts = x.reshape(x.shape[0], channels, *block, *counts)
        y = np.zeros((x.shape[0], channels, *(n + b + e for n, (b, e) in zip(image, around, strict=True))), x.dtype)
        for tap in taps(block):
            y[(..., *tap_slices(tap, counts, s, d))] += parts[(slice(None), slice(None), *tap)]
        return pad_spatial(y, [(-b, -e) for b, e in around])

    return run
