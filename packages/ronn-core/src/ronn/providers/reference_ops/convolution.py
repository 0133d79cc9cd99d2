"""Convolution's relatives that ``onnx.reference`` gets wrong: grouped ConvTranspose, GlobalMaxPool of any rank."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.provider import KernelContext, kernel


@kernel("GlobalMaxPool")
def global_max_pool(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    """The maximum over all spatial axes, which are kept with length 1."""
    return x.max(axis=tuple(range(2, x.ndim)), keepdims=True)


@kernel("ConvTranspose", dtypes="float16 float32 float64")
def conv_transpose(
    ctx: KernelContext,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    group: int,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    output_padding: Sequence[int] | None,
    output_shape: Sequence[int] | None,
    auto_pad: str,
) -> np.ndarray:
    """x [N, C, ...], w [C, M/group, ...] -> [N, M, ...]: every input element adds its scaled filter to the output."""
    rank = x.ndim - 2
    size, taps = x.shape[2:], w.shape[2:]
    step = list(strides) if strides else [1] * rank
    spread = list(dilations) if dilations else [1] * rank
    extra = list(output_padding) if output_padding else [0] * rank
    whole = [step[i] * (size[i] - 1) + spread[i] * (taps[i] - 1) + 1 for i in range(rank)]
    before, length = _window(whole, size, step, extra, pads, output_shape, auto_pad)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    n, m = x.shape[0], w.shape[1]
    out = np.zeros((n, group, m, *(max(whole[i], before[i] + length[i]) for i in range(rank))), wide)
    xs: Any = x.reshape(n, group, x.shape[1] // group, *size).astype(wide)
    ws: Any = w.reshape(group, w.shape[0] // group, m, *taps).astype(wide)
    for tap in itertools.product(*map(range, taps)):
        at: list[Any] = [slice(t * d, t * d + s * (k - 1) + 1, s) for t, d, s, k in zip(tap, spread, step, size)]
        out[(..., *at)] += np.einsum("ngc...,gcm->ngm...", xs, ws[(..., *tap)])
    cut: tuple[Any, ...] = (..., *(slice(a, a + k) for a, k in zip(before, length)))
    result = out[cut].reshape(n, group * m, *length)
    if b is not None:
        result = result + b.reshape(-1, *[1] * rank)
    return result.astype(x.dtype)


def _window(
    whole: Sequence[int],
    size: Sequence[int],
    step: Sequence[int],
    extra: Sequence[int],
    pads: Sequence[int] | None,
    output_shape: Sequence[int] | None,
    auto_pad: str,
) -> tuple[list[int], list[int]]:
    """Where the output starts in the whole, and its lengths, per spatial axis."""
    rank = len(whole)
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        length = list(output_shape)[-rank:] if output_shape else [size[i] * step[i] for i in range(rank)]
        total = [max(whole[i] + extra[i] - length[i], 0) for i in range(rank)]
        # The odd cell of an uneven total stays at the end for SAME_UPPER, at the start otherwise.
        before = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
        return before, length
    given = list(pads) if pads and auto_pad in ("", "NOTSET") else [0] * (2 * rank)
    return given[:rank], [whole[i] + extra[i] - given[i] - given[rank + i] for i in range(rank)]
