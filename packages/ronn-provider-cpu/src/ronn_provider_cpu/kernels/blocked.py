"""Block, Unblock and BlockedConv of the ``ronn.cpu`` domain (see ``ronn_provider_cpu.ops``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels._activations import activate, activation, known
from ronn_provider_cpu.kernels.conv import add_bias, convolve
from ronn_provider_cpu.kernels.conv_transpose import transposed
from ronn_provider_cpu.ops import DOMAIN


def to_blocks(x: np.ndarray, lanes: int, *, fill: float = 0.0) -> np.ndarray:
    """``x[N, C, H, W]`` as ``[N, ceil(C / lanes), H, W, lanes]``; lanes beyond C hold ``fill``. A new array."""
    n, c, h, w = x.shape
    blocks = -(-c // lanes)
    if c % lanes:
        padded = np.full((n, blocks * lanes, h, w), fill, x.dtype)
        padded[:, :c] = x
        x = padded
    return np.array(x.reshape(n, blocks, lanes, h, w).transpose(0, 1, 3, 4, 2), order="C")


def from_blocks(x: np.ndarray, channels: int) -> np.ndarray:
    """``x[N, C / L, H, W, L]`` as ``[N, channels, H, W]``, a new array."""
    n, blocks, h, w, lanes = x.shape
    return np.array(x.transpose(0, 1, 4, 2, 3).reshape(n, blocks * lanes, h, w)[:, :channels], order="C")


@kernel("Block", domain=DOMAIN, dtypes="float32")
def block(ctx: KernelContext, x: np.ndarray, *, lanes: int, nhwc: int) -> np.ndarray:
    if x.ndim == 3:
        x = x[:, None] if nhwc else x[:, :, None]
    return to_blocks(x.transpose(0, 3, 1, 2) if nhwc else x, lanes)


@kernel("Unblock", domain=DOMAIN, dtypes="float32")
def unblock(ctx: KernelContext, x: np.ndarray, *, channels: int, nhwc: int, rank: int) -> np.ndarray:
    y = from_blocks(x, channels)
    y = np.array(y.transpose(0, 2, 3, 1), order="C") if nhwc else y
    return (
        y.reshape(y.shape[0], *y.shape[2:]) if rank == 3 and nhwc else y.reshape(*y.shape[:2], -1) if rank == 3 else y
    )


def _known_activation(node: Node) -> bool | str:
    name = node.attributes.get("activation", "")
    return True if known(name) else f"activation {name!r} is not known"


@kernel("BlockedConv", domain=DOMAIN, dtypes="float32", prepare=True, when=_known_activation)
def blocked_conv(
    ctx: KernelContext,
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
    activation_params: Sequence[float],
    lanes: int,
    channels: int,
    out_channels: int,
    plain_input: int,
    residual_last: int,
) -> Callable[..., np.ndarray]:
    act = activation(ctx.attr("activation"), activation_params)
    pairs = [(pads[0], pads[2]), (pads[1], pads[3])]

    def run(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, residual: Any = None) -> np.ndarray:
        plain = x if plain_input else from_blocks(x, channels)
        if plain.ndim == 3:
            plain = plain[:, :, None]
        if w.ndim == 3:
            w = w[:, :, None]
        y = add_bias(convolve(plain, w, group, strides, dilations, pairs), bias)
        more = None if residual is None else from_blocks(residual, out_channels)
        if more is not None and not residual_last:
            y += more
        y = activate(y, act)
        if more is not None and residual_last:
            y += more
        return to_blocks(y, lanes)

    return run


@kernel("BlockedConvTranspose", domain=DOMAIN, dtypes="float32")
def blocked_conv_transpose(
    ctx: KernelContext,
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int],
    begins: Sequence[int],
    dilations: Sequence[int],
    output_size: Sequence[int],
    group: int,
    lanes: int,
    channels: int,
) -> np.ndarray:
    y = transposed(from_blocks(x, channels), w, group, strides, dilations, begins, output_size)
    return to_blocks(add_bias(y, bias), lanes)


@kernel("Regroup", domain=DOMAIN, dtypes="float32")
def regroup(
    ctx: KernelContext,
    *xs: np.ndarray,
    lanes: int,
    channels: Sequence[int],
    starts: Sequence[int],
    sizes: Sequence[int],
) -> np.ndarray:
    parts = [
        from_blocks(x, c)[:, start : start + size]
        for x, c, start, size in zip(xs, channels, starts, sizes, strict=True)
    ]
    return to_blocks(np.concatenate(parts, axis=1), lanes)
