"""BlockedConv, Conv, FusedConv and ConvTranspose in float32, on channels in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ronn.ir.graph import Node
from ronn.ops.fused import ACTIVATION_ARITY
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.conv_phases import Phase, Transposed, phases
from ronn_codegen.templates.conv_plan import ConvPlan, ConvShape, Three, pixels_of
from ronn_codegen.templates.narrow_plan import prefers_narrow, upsampling, upsampling_in_blocks, upsampling_time
from ronn_codegen.templates.winograd_plan import WinogradPlan, winograd
from ronn_codegen.windows import ints, resolve_pads, transposed_geometry
from ronn_provider_cpu.lower import _bf16 as bf16
from ronn_provider_cpu.lower._conv_weights import packed_weights, padded_bias, paired_weights, winograd_weights
from ronn_provider_cpu.lower._narrow import narrow_conv, narrow_shape, upsample
from ronn_provider_cpu.lowering import F32, Argument, Lowering, Operand, Temporary, lower
from ronn_provider_cpu.ops import DOMAIN

_MODULE = "ronn_codegen.templates.conv"
_REORDER = "ronn_codegen.templates.reorder"
_BYTES_PER_NS = 20.0  # that a reorder reads and writes, on one core
_MOST_PHASES = 256  # convolutions that a transposed one becomes
_PLAIN_CHANNELS = 4  # up to as many, an input is read where it lies


@lower("BlockedConv", domain=DOMAIN, alike=True)
def blocked_conv(c: Lowering) -> None:
    x, w, bias, residual = (c.input(i) for i in range(4))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    lanes, plain = int(c.attr("lanes")), bool(c.attr("plain_input"))
    width = c.machine.target.lanes(32)
    c.require(lanes == width, f"blocks of {lanes} channels on a machine with {width} lanes")
    channels, out_channels = int(c.attr("channels")), int(c.attr("out_channels"))
    size = x.shape[2:4] if len(x.shape) > 3 else (1, x.shape[2])
    shape = _shape(
        x.shape[0], channels, out_channels, size, c.attr("kernel_shape"), c.attr("strides"), c.attr("pads"),
        c.attr("dilations"), int(c.attr("group")),
    )  # fmt: skip
    activation = str(c.attr("activation"))
    last = bool(c.attr("residual_last")) and residual is not None and activation != ""
    plan = ConvPlan(shape, lanes, pixels_of(c.machine.target), plain)
    if residual is not None and not last and residual.value is not x.value:
        c.inplace(3)
    _convolve(c, plan, x, w, bias, y, activation, c.attr("activation_params"), residual, last)


@lower("Conv", alike=True)
@lower("FusedConv", domain="ronn", alike=True)
@lower("FusedConv", domain="com.microsoft", alike=True)
def conv(c: Lowering) -> None:
    x, w, bias = (c.input(i) for i in range(3))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    c.require(c.input(3) is None, "the addend is not in blocks")
    rank = len(x.shape) - 2
    c.require(1 <= rank <= 3, f"{rank} spatial axes")
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    pads = resolve_pads(c.attr("auto_pad"), c.attr("pads"), x.shape[2:], w.shape[2:], strides, dilations)
    group = int(c.attr("group", 1))
    flat = [p[0] for p in pads] + [p[1] for p in pads]
    shape = _shape(x.shape[0], x.shape[1], w.shape[0], x.shape[2:], w.shape[2:], strides, flat, dilations, group)
    c.require(_product(shape.out) == _product(y.shape[2:]), "the output has another size than the windows")
    lanes = c.machine.target.lanes(32)
    plain = group == 1 and shape.c <= _PLAIN_CHANNELS
    activation = str(c.attr("activation", ""))
    fixed = w.data is not None and (bias is None or bias.data is not None)
    narrow = narrow_shape(shape) if fixed else None
    if narrow is not None and prefers_narrow(narrow, lanes):
        narrow_conv(c, narrow, x, w, bias, y, activation, c.attr("activation_params", ()))
        return
    plan = ConvPlan(shape, lanes, pixels_of(c.machine.target), plain)
    source = x if plain else block(c, x, lanes)
    out_pixels = shape.out[0] * shape.out[1] * shape.out[2]
    out = c.temp(4 * shape.n * plan.out_blocks * out_pixels * lanes)
    _convolve(c, plan, source, w, bias, out, activation, c.attr("activation_params", ()))
    unblock(c, out, y, lanes)


@lower("ConvTranspose")
def conv_transpose(c: Lowering) -> None:
    x, w, bias = (c.input(i) for i in range(3))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    rank = len(x.shape) - 2
    c.require(1 <= rank <= 3, f"{rank} spatial axes")
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    c.require(_product(strides) <= _MOST_PHASES, "strides too large")
    begins, outs = transposed_geometry(
        x.shape[2:], w.shape[2:], strides, dilations, c.attr("auto_pad"), c.attr("pads"),
        ints(c.attr("output_padding"), rank, 0), c.attr("output_shape"),
    )  # fmt: skip
    c.require(tuple(outs) == y.shape[2:], "the output has another size than the windows")
    group = int(c.attr("group", 1))
    lanes = c.machine.target.lanes(32)
    shape = Transposed(
        x.shape[0], x.shape[1], y.shape[1], three(x.shape[2:], 1), three(w.shape[2:], 1), three(outs, 1),
        three(strides, 1), three(begins, 0), three(dilations, 1), group,
    )  # fmt: skip
    flat = None
    if rank == 2 and w.data is not None and (bias is None or bias.data is not None):
        flat = upsampling(
            shape.n, shape.c, shape.k, _two(shape.size), _two(shape.kernel), _two(shape.strides),
            _two(shape.dilations), _two(shape.begins), _two(shape.out), group,
        )  # fmt: skip
    if flat is not None and upsampling_time(flat, lanes) < upsampling_in_blocks(flat, shape.k, lanes):
        upsample(c, flat, _two(shape.kernel), x, w, bias, y)
        return
    source = block(c, x, lanes)
    out = c.temp(4 * shape.n * -(-shape.k // lanes) * _product(outs) * lanes)
    for phase in phases(shape, lanes, pixels_of(c.machine.target)):
        _convolve(c, phase.plan, source, w, bias, out.at(4 * lanes * phase.first), "", (), phase=phase)
    unblock(c, out, y, lanes)


def blocked_refusal(node: Node) -> str | None:
    """Why a ``Conv`` or ``FusedConv`` cannot become a ``BlockedConv``; None when it can."""
    w = node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if w is None or w.data is None or (bias is not None and bias.data is None):
        return "weights and bias are not constants"
    if w.data.ndim != 4 or w.data.dtype != F32:
        return f"weights are {w.data.dtype} of rank {w.data.ndim}, not float32 of rank 4"
    activation = str(node.attributes.get("activation", ""))
    return None if activation in ACTIVATION_ARITY else f"activation {activation!r}"


def three(values: Sequence[int], fill: int) -> Three:
    """Up to three values, with ``fill`` before them."""
    filled = [*[fill] * (3 - len(values)), *map(int, values)]
    return filled[0], filled[1], filled[2]


def _two(values: Three) -> tuple[int, int]:
    return values[1], values[2]


def _shape(
    n: int, c: int, k: int, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int],
    dilations: Sequence[int], group: int,
) -> ConvShape:  # fmt: skip
    """Spatial dims up to three. ``pads``: all beginnings, then all ends. Those of size 1 come first, which moves no
    element: tiles want rows of many pixels."""
    rank = len(size)
    dims = [
        dim for dim in zip(size, kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)
        if (dim[0], dim[1], dim[4], dim[5]) != (1, 1, 0, 0)
    ]  # fmt: skip
    sizes, kernels, steps, spread, before, after = zip(*dims, strict=True) if dims else ((),) * 6
    return ConvShape(
        n, c, k, three(sizes, 1), three(kernels, 1), three(steps, 1), (*three(before, 0), *three(after, 0)),
        three(spread, 1), group,
    )  # fmt: skip


def _convolve(
    c: Lowering, plan: ConvPlan, x: Argument, w: Operand, bias: Operand | None, y: Argument, activation: str,
    params: Sequence[float], residual: Argument | None = None, residual_last: bool = False,
    phase: Phase | None = None,
) -> None:  # fmt: skip
    shape = plan.shape
    c.require(activation in ACTIVATION_ARITY, f"activation {activation!r}")
    c.require(len(params) >= ACTIVATION_ARITY[activation], f"{activation} without its parameters")
    mode, p0, p1 = mode_of(activation, params)
    padded = padded_bias(c, plan, bias)
    ending = {
        "bias": padded, "residual": 0 if residual is None else residual, "y": y, "residual_last": int(residual_last),
        "mode": mode, "p0": p0, "p1": p1,
    }  # fmt: skip
    tiles = winograd(plan) if w.data is not None else None
    words = bf16.convolution(c, plan, tiles, w)
    if tiles is not None and words is None:
        _winograd(c, tiles, x, w, ending)
        return
    size = 4 * (shape.n * shape.c * _product(shape.size) + shape.n * shape.k * _product(shape.out) + plan.packed_size)
    if words is not None:
        c.call(
            *bf16.CONV, plan=words.words, x=bf16.convolved_words(c, words, x), w=paired_weights(c, words, w),
            chunks=words.units, flops=shape.flops, bytes=size,
            cost=100 + shape.flops / (13 * plan.lanes) + size / _BYTES_PER_NS, **ending,
        )  # fmt: skip
        return
    rest = {
        "plan": plan.words, "x": x, "w": packed_weights(c, plan, w, phase), "chunks": plan.units,
        "flops": shape.flops, "bytes": size, "cost": 100 + shape.flops / (6.5 * plan.lanes) + size / _BYTES_PER_NS,
        **ending,
    }  # fmt: skip
    if plan.strip_kind is not None:
        c.call("ronn_codegen.templates.depthwise", "depthwise_f32", kind=plan.strip_kind, **rest)
    else:
        c.call(_MODULE, "conv_f32", **rest)


def _winograd(c: Lowering, plan: WinogradPlan, x: Argument, w: Operand, ending: Mapping[str, Argument]) -> None:
    """``flops`` are those of the definition."""
    shape = plan.shape
    packed = winograd_weights(c, plan, w)
    size = 4 * (shape.n * shape.c * _product(shape.size) + shape.n * shape.k * _product(shape.out)) + packed.nbytes
    shares = plan.shares
    if plan.fused:
        transformed = c.temp(4 * shares * plan.input_floats)
    else:
        transformed = c.temp(4 * shape.n * plan.blocks * plan.input_floats)
        c.call(
            _MODULE, "winograd_input_f32", plan=plan.words, x=x, v=transformed, chunks=plan.input_units,
            cost=50 * plan.input_units * plan.block, bytes=12 * shape.n * plan.blocks * plan.input_floats,
        )  # fmt: skip
    c.call(
        _MODULE, "winograd_f32", plan=plan.words, x=x, u=packed, zero=np.zeros(2 * plan.lanes, np.float32),
        v=transformed, m=c.temp(4 * shares * plan.product_floats), chunks=shares, cost=plan.cycles / 4,
        flops=shape.flops, bytes=size, **ending,
    )  # fmt: skip


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def block(c: Lowering, x: Operand, lanes: int) -> Temporary:
    """Scratch that holds ``x[N, C, ...]`` in blocks."""
    n, channels, *spatial = x.shape
    pixels = _product(spatial)
    blocked = c.temp(4 * n * -(-channels // lanes) * pixels * lanes)
    _reorder(c, "block", x, blocked, n, channels, pixels, lanes)
    return blocked


def unblock(c: Lowering, x: Temporary, y: Operand, lanes: int) -> None:
    """Blocked scratch to ``y[N, C, ...]``."""
    n, channels, *spatial = y.shape
    _reorder(c, "unblock", x, y, n, channels, _product(spatial), lanes)


def _reorder(c: Lowering, what: str, x: Argument, y: Argument, n: int, channels: int, pixels: int, lanes: int) -> None:
    last = pixels == 1
    tiles = n * -(-pixels // 128) * (1 if last else -(-channels // lanes))
    size = 8 * n * channels * pixels
    c.call(
        _REORDER, f"{what}_last_f32" if last else f"{what}_f32", x=x, y=y, n=n, c=channels, pixels=pixels,
        chunks=tiles, cost=100 + size / _BYTES_PER_NS, bytes=size,
    )  # fmt: skip
