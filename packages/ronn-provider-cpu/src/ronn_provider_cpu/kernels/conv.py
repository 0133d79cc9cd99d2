"""Conv and FusedConv: pointwise as matmul, depthwise by taps, the rest by im2col in blocks that stay in cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.provider.kernels import KernelContext
from ronn_codegen.windows import Pads, ints, out_size, resolve_pads
from ronn_provider_cpu.kernels._activations import Activation, activate, activation, known
from ronn_provider_cpu.kernels._common import float_kernel
from ronn_provider_cpu.kernels._spatial import pad_spatial, tap_slices, taps

_COLUMN_BYTES = 2 << 20  # of one im2col block
_DEPTHWISE_BYTES = 256 << 10  # of one block of depthwise outputs


def convolve(
    x: np.ndarray, w: np.ndarray, group: int, strides: Sequence[int], dilations: Sequence[int], pads: Pads
) -> np.ndarray:
    """Convolution without bias. x: (N, C, spatial...), w: (M, C/group, kernel...) -> (N, M, spatial...)."""
    n, c = x.shape[:2]
    m, per_group, *kernel = w.shape
    sizes = [out_size(*a) for a in zip(x.shape[2:], kernel, strides, dilations, pads, strict=True)]
    if 0 in (n, m, *sizes) or c == 0 or 0 in kernel:
        return np.zeros((n, m, *sizes), x.dtype)
    x = pad_spatial(x, pads)
    if per_group == 1 and group > 1:
        return _depthwise(x, w, sizes, strides, dilations)
    if all(k == 1 for k in kernel):
        if any(s > 1 for s in strides) or list(x.shape[2:]) != sizes:
            x = x[(..., *tap_slices([0] * len(kernel), sizes, strides, dilations))]
        columns = x.reshape(n, group, per_group, -1)
        return np.matmul(w.reshape(group, m // group, per_group), columns).reshape(n, m, *sizes)
    return _by_columns(x, w, group, sizes, strides, dilations)


def _by_columns(
    x: np.ndarray, w: np.ndarray, group: int, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    n, c = x.shape[:2]
    m, per_group, *kernel = w.shape
    depth = per_group * math.prod(kernel)
    weights = w.reshape(group, m // group, depth)
    out = np.empty((n, m, *sizes), x.dtype)
    row = math.prod(sizes[1:])
    rows = min(sizes[0], max(1, _COLUMN_BYTES // (group * depth * row * x.itemsize)))
    buffer = np.empty((c, *kernel, rows, *sizes[1:]), x.dtype)
    for item in range(n):
        flat = out[item].reshape(group, m // group, sizes[0] * row)
        for start in range(0, sizes[0], rows):
            count = min(rows, sizes[0] - start)
            columns = buffer if count == rows else np.empty((c, *kernel, count, *sizes[1:]), x.dtype)
            part = x[item, :, start * strides[0] :]
            for tap in taps(kernel):
                at = tap_slices(tap, [count, *sizes[1:]], strides, dilations)
                columns[(slice(None), *tap)] = part[(slice(None), *at)]
            np.matmul(
                weights, columns.reshape(group, depth, count * row), out=flat[:, :, start * row : (start + count) * row]
            )
    return out


def _depthwise(
    x: np.ndarray, w: np.ndarray, sizes: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    n, c = x.shape[:2]
    m, _, *kernel = w.shape
    times = m // c
    ones = (1,) * len(sizes)
    out: Any = np.empty((n, c, times, *sizes), x.dtype)
    step = max(1, _DEPTHWISE_BYTES // max(times * math.prod(sizes) * x.itemsize, 1))
    weights = w.reshape(c, times, *kernel)
    for item in range(n):
        for first in range(0, c, step):
            last = min(first + step, c)
            acc = out[item, first:last]
            term = np.empty_like(acc)
            for i, tap in enumerate(taps(kernel)):
                at = (slice(first, last), None, *tap_slices(tap, sizes, strides, dilations))
                weight = weights[(slice(first, last), slice(None), *tap)].reshape(last - first, times, *ones)
                if i == 0:
                    np.multiply(x[item][at], weight, out=acc)
                else:
                    np.multiply(x[item][at], weight, out=term)
                    acc += term
    return out.reshape(n, m, *sizes)


def add_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Adds a per-channel bias to (N, M, spatial...) in place."""
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 2))
    return y


def _make(
    *,
    auto_pad: str | None,
    dilations: Any,
    group: int | None,
    pads: Any,
    strides: Any,
    act: Activation | None,
) -> Callable[..., np.ndarray]:
    groups = 1 if group is None else int(group)

    def run(
        x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, addend: np.ndarray | None = None
    ) -> np.ndarray:
        rank = x.ndim - 2
        s, d = ints(strides, rank, 1), ints(dilations, rank, 1)
        resolved = resolve_pads(auto_pad, pads, x.shape[2:], w.shape[2:], s, d)
        y = add_bias(convolve(x, w, groups, s, d, resolved), bias)
        if addend is not None:
            y += addend
        return activate(y, act)

    return run


@float_kernel("Conv", prepare=True)
def conv(
    ctx: KernelContext, *, auto_pad: Any, dilations: Any, group: Any, pads: Any, strides: Any
) -> Callable[..., np.ndarray]:
    return _make(auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides, act=None)


def _known_activation(node: Node) -> bool | str:
    name = node.attributes.get("activation")
    return True if known(name) else f"activation {name!r} is not known"


@float_kernel("FusedConv", domain="ronn", prepare=True, when=_known_activation)
@float_kernel("FusedConv", domain="com.microsoft", prepare=True, when=_known_activation)
def fused_conv(
    ctx: KernelContext,
    *,
    auto_pad: Any,
    dilations: Any,
    group: Any,
    pads: Any,
    strides: Any,
    activation_params: Any,
) -> Callable[..., np.ndarray]:
    act = activation(ctx.attr("activation"), () if activation_params is None else activation_params)
    return _make(auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides, act=act)
