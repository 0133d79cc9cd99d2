"""Convolutions with few bits in NumPy: what the native kernels are held against, and what runs where there are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Node
from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_bitnet.numpy_kernels.dense import integers, quantised
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.kernels._activations import Activation, activate, activation, known
from ronn_provider_cpu.kernels.blocked import from_blocks, to_blocks
from ronn_provider_cpu.kernels.conv import convolve

Array = np.ndarray


def bit_convolve(
    x: Array, codes: Array, scale: Array, bias: Array | None, offset: Array | None, *, bits: int, zero: int,
    channel_group: int, planes: int, least: float, together: bool, group: int, strides: Sequence[int],
    dilations: Sequence[int], pads: Sequence[tuple[int, int]],
) -> Array:  # fmt: skip
    """See ``conv_ops``: without the activation."""
    rows = x.reshape(1 if together else len(x), -1)
    whole, step = quantised(rows, planes, least)
    pixels = whole.reshape(x.shape).astype(np.float64)  # sums of integers below 2**53 are exact
    weights = (integers(codes, bits, zero) if offset is None else codes).astype(np.float64)
    each = codes.shape[1]
    width = channel_group if channel_group else each
    by_tap = scale.ndim > 2
    taps = list(np.ndindex(*codes.shape[2:])) if by_tap else [(...,)]
    out: Array | None = None
    for g in range(scale.shape[1]):
        for tap in taps:
            part = (slice(None), slice(g * width, (g + 1) * width), *tap)
            own = np.zeros_like(weights)
            own[part] = weights[part]
            factor = scale[(slice(None), g, *(tap if by_tap else ()))].reshape(-1, *(1,) * (x.ndim - 2))
            term = convolve(pixels, own, group, strides, dilations, list(pads)).astype(np.float32) * factor
            if offset is not None:
                ones = np.zeros_like(weights)
                ones[part] = 1
                more = offset[(slice(None), g, *(tap if by_tap else ()))].reshape(factor.shape)
                term += convolve(pixels, ones, group, strides, dilations, list(pads)).astype(np.float32) * more
            out = term if out is None else out + term
    assert out is not None
    y = out * step.reshape(-1, *(1,) * (x.ndim - 1))
    return y if bias is None else y + bias.reshape(-1, *(1,) * (x.ndim - 2))


def _known_activation(node: Node) -> bool | str:
    name = node.attributes.get("activation", "")
    return True if known(name) else f"activation {name!r} is not known"


def _activation(ctx: KernelContext, params: Any) -> Activation | None:
    return activation(ctx.attr("activation"), () if params is None else params)


@kernel("BitConv", domain=DOMAIN, prepare=True, when=_known_activation)
def bit_conv(
    ctx: KernelContext, *, bits: int, zero: int, channel_group: int, planes: int, least: float, together: int,
    group: int, strides: Any, pads: Any, dilations: Any, auto_pad: str, activation_params: Any,
) -> Callable[..., Array]:  # fmt: skip
    act = _activation(ctx, activation_params)

    def call(x: Array, codes: Array, scale: Array, bias: Array | None = None, offset: Array | None = None) -> Array:
        rank = x.ndim - 2
        s, d = ints(strides, rank, 1), ints(dilations, rank, 1)
        resolved = resolve_pads(auto_pad, pads, x.shape[2:], codes.shape[2:], s, d)
        y = bit_convolve(
            x, codes, scale, bias, offset, bits=bits, zero=zero, channel_group=channel_group, planes=planes,
            least=least, together=bool(together), group=group, strides=s, dilations=d, pads=resolved,
        )  # fmt: skip
        return activate(y, act)

    return call


@kernel("BlockedBitConv", domain=DOMAIN, prepare=True, when=_known_activation)
def blocked_bit_conv(
    ctx: KernelContext, *, bits: int, zero: int, channel_group: int, planes: int, least: float, together: int,
    group: int, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int], activation_params: Any,
    lanes: int, channels: int, residual_last: int,
) -> Callable[..., Array]:  # fmt: skip
    act = _activation(ctx, activation_params)
    pairs = [(pads[0], pads[2]), (pads[1], pads[3])]

    def call(
        x: Array, codes: Array, scale: Array, bias: Array | None = None, offset: Array | None = None,
        residual: Array | None = None,
    ) -> Array:  # fmt: skip
        if codes.ndim == 3:
            codes = codes[:, :, None]
            scale = scale[:, :, None] if scale.ndim == 3 else scale
            offset = offset[:, :, None] if offset is not None and offset.ndim == 3 else offset
        y = bit_convolve(
            from_blocks(x, channels), codes, scale, bias, offset, bits=bits, zero=zero, channel_group=channel_group,
            planes=planes, least=least, together=bool(together), group=group, strides=strides, dilations=dilations,
            pads=pairs,
        )  # fmt: skip
        more = None if residual is None else from_blocks(residual, len(codes))
        if more is not None and not residual_last:
            y = y + more
        y = activate(y, act)
        return to_blocks(y if more is None or not residual_last else y + more, lanes)

    return call
