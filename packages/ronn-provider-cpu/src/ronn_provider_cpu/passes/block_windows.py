"""Convolution, pooling and resizing on blocked channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.passes.edit import Builder, attr, ints
from ronn_codegen.templates.narrow_plan import (
    MOST_CHANNELS,
    NarrowShape,
    blocked_time,
    narrow_time,
    upsampling,
    upsampling_in_blocks,
    upsampling_time,
)
from ronn_codegen.windows import resolve_pads, transposed_geometry
from ronn_provider_cpu.ops import DOMAIN
from ronn_provider_cpu.passes.block_cost import convolution_gain
from ronn_provider_cpu.passes.block_values import Candidate, Get, Layouts, Shape, again

PLAIN_CHANNELS = 4  # convolutions of so few input channels read them where they are
MOST_PHASES = 256  # convolutions that a transposed one becomes


def conv(node: Node, at: Layouts) -> Candidate | None:
    """Conv and FusedConv with constant weights. Over one pixel they are matrix products, better plain."""
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    x_shape, y_shape = at.first(x), at.first(node.output)
    if x is None or x_shape is None or y_shape is None or x_shape[2] * x_shape[3] == 1:
        return None
    if w is None or w.data is None or (bias is not None and bias.data is None):
        return None
    rank = w.data.ndim - 2
    kernel = list(w.data.shape[2:])
    strides, dilations = (list(node.attributes.get(name) or [1] * rank) for name in ("strides", "dilations"))
    pads = resolve_pads(
        attr(node, "auto_pad"), node.attributes.get("pads"), x_shape[4 - rank :], kernel, strides, dilations
    )
    if rank == 1:
        kernel, strides, dilations, pads = [1, *kernel], [1, *strides], [1, *dilations], [(0, 0), *pads]
    if any(p < 0 for pair in pads for p in pair):
        return None
    group = int(attr(node, "group", 1))
    plain_input = group == 1 and x_shape[1] <= PLAIN_CHANNELS
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": strides, "dilations": dilations,
        "pads": [before for before, _ in pads] + [after for _, after in pads], "group": group,
        "lanes": at.lanes, "channels": x_shape[1], "out_channels": y_shape[1],
    }  # fmt: skip
    if plain_input:
        attributes["plain_input"] = 1
    for name in ("activation", "activation_params"):
        if node.attributes.get(name):
            attributes[name] = node.attributes[name]
    gain = convolution_gain(x_shape, y_shape, plain_input=plain_input, lanes=at.lanes)
    if group == 1 and y_shape[1] <= MOST_CHANNELS:
        narrow = NarrowShape(
            x_shape[0], x_shape[1], y_shape[1], x_shape[2:], (kernel[0], kernel[1]), (strides[0], strides[1]),
            (pads[0][0], pads[1][0], pads[0][1], pads[1][1]), (dilations[0], dilations[1]),
        )  # fmt: skip
        gain = min(gain, narrow_time(narrow, at.lanes) - blocked_time(narrow, at.lanes))

    def make(b: Builder, get: Get) -> Sequence[Value]:
        inputs = [node.inputs[0] if plain_input else get(x), *node.inputs[1:3]]
        return b.node("BlockedConv", inputs, attributes, domain=DOMAIN, version=1).outputs

    return Candidate(node, () if plain_input else (x,), (node.output,), make, gain)


def conv_transpose(node: Node, at: Layouts) -> Candidate | None:
    """ConvTranspose in two dims with constant weights."""
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    x_shape, y_shape = at.first(x), at.first(node.output)
    if x is None or x_shape is None or y_shape is None or w is None or w.data is None or w.data.ndim != 4:
        return None
    if bias is not None and bias.data is None:
        return None
    kernel = list(w.data.shape[2:])
    strides, dilations = (list(node.attributes.get(name) or [1, 1]) for name in ("strides", "dilations"))
    begins, outs = transposed_geometry(
        x_shape[2:], kernel, strides, dilations, attr(node, "auto_pad"), node.attributes.get("pads"),
        node.attributes.get("output_padding") or [0, 0], node.attributes.get("output_shape"),
    )  # fmt: skip
    if tuple(outs) != y_shape[2:] or any(b < 0 for b in begins) or math.prod(strides) > MOST_PHASES:
        return None
    attributes: dict[str, Any] = {
        "kernel_shape": kernel, "strides": strides, "dilations": dilations, "begins": list(begins),
        "output_size": list(outs), "group": int(attr(node, "group", 1)), "lanes": at.lanes,
        "channels": x_shape[1], "out_channels": y_shape[1],
    }  # fmt: skip
    gain = convolution_gain(x_shape, y_shape, plain_input=False, lanes=at.lanes)
    flat = upsampling(
        x_shape[0], x_shape[1], y_shape[1], x_shape[2:], (kernel[0], kernel[1]), (strides[0], strides[1]),
        (dilations[0], dilations[1]), (begins[0], begins[1]), y_shape[2:], attributes["group"],
    )  # fmt: skip
    if flat is not None:
        gain = min(gain, upsampling_time(flat, at.lanes) - upsampling_in_blocks(flat, y_shape[1], at.lanes))

    def make(b: Builder, get: Get) -> Sequence[Value]:
        inputs = [get(x), *node.inputs[1:3]]
        return b.node("BlockedConvTranspose", inputs, attributes, domain=DOMAIN, version=1).outputs

    return Candidate(node, (x,), (node.output,), make, gain)


def pool(node: Node, at: Layouts) -> Candidate | None:
    """MaxPool and AveragePool: the kernel gets a third axis, of one lane."""
    x, shape = node.inputs[0], at.first(node.inputs[0])
    if x is None or shape is None or at.shape(node.output) is None or any(v.name and v.uses for v in node.outputs[1:]):
        return None
    attributes = dict(node.attributes)
    kernel = attributes["kernel_shape"]
    before = [1] * (2 - len(kernel))
    attributes["kernel_shape"] = [*before, *kernel, 1]
    for name in ("strides", "dilations"):
        if attributes.get(name):
            attributes[name] = [*before, *attributes[name], 1]
    pads = attributes.get("pads")
    if pads:
        # A window of padding alone would put -inf into the lanes beyond the channels.
        if any(p < 0 or p >= k for p, k in zip(pads, [*kernel, *kernel], strict=True)):
            return None
        none = [0] * len(before)
        attributes["pads"] = [*none, *pads[: len(kernel)], 0, *none, *pads[len(kernel) :], 0]

    def make(b: Builder, get: Get) -> Sequence[Value]:
        return (b.node(node.op, [get(x)], attributes, version=node.version).output,)

    return Candidate(node, (x,), (node.output,), make)


def global_pool(node: Node, at: Layouts) -> Candidate | None:
    """GlobalMaxPool and GlobalAveragePool: a window over all pixels."""
    x, shape = node.inputs[0], at.first(node.inputs[0])
    if x is None or shape is None:
        return None
    op = "MaxPool" if node.op == "GlobalMaxPool" else "AveragePool"
    return Candidate(node, (x,), (node.output,), lambda b, get: (_over_pixels(b, op, get(x), shape),))


def reduce(node: Node, at: Layouts) -> Candidate | None:
    """ReduceMax and ReduceMean over all pixels: the same."""
    x, shape = node.inputs[0], at.shape(node.inputs[0])
    axes = ints(node.input(1)) if node.input(1) is not None else node.attributes.get("axes")
    if x is None or shape is None or axes is None:
        return None
    if sorted(at.axis(x, int(a)) for a in axes) != ([2, 3] if x.tensor.rank == 4 else [3]):
        return None
    op = "MaxPool" if node.op == "ReduceMax" else "AveragePool"
    if attr(node, "keepdims", 1):
        at.follow(node, x)
        return Candidate(node, (x,), (node.output,), lambda b, get: (_over_pixels(b, op, get(x), shape),))

    def make(b: Builder, get: Get) -> Sequence[Value]:
        plain = b.op("Unblock", _over_pixels(b, op, get(x), shape), domain=DOMAIN, version=1, channels=shape[1])
        return (b.op("Reshape", plain, b.constant([shape[0], shape[1]]), version=max(b.version, 5)),)

    return Candidate(node, (x,), (), make)


def _over_pixels(b: Builder, op: str, blocked: Value, shape: Shape) -> Value:
    return b.op(op, blocked, version=max(b.version, 10), kernel_shape=[shape[2], shape[3], 1])


def resize(node: Node, at: Layouts) -> Candidate | None:
    """Resize and Upsample of the pixels."""
    x, shape, out = node.inputs[0], at.first(node.inputs[0]), at.first(node.output)
    if x is None or shape is None or out is None or shape[:2] != out[:2] or x.tensor.rank != 4:
        return None
    if attr(node, "antialias", 0):
        return None
    if attr(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return None
    if attr(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    modern = node.op == "Resize" and node.version >= 11
    place = (2 if modern else 1) if node.op == "Resize" or node.version >= 9 else None
    scales = node.input(place) if place is not None else None
    sizes = node.input(3) if modern else None
    if any(v is not None and v.data is None for v in (scales, sizes)) or (place is None and not attr(node, "scales")):
        return None
    axes = [int(a) % 4 for a in node.attributes.get("axes") or range(4)]
    attributes = {k: v for k, v in node.attributes.items() if k != "axes"}
    factors: np.ndarray | None = None
    if scales is not None and scales.data is not None and scales.data.size:
        factors = np.ones(5, np.float32)
        factors[axes] = scales.data
    elif place is None:
        attributes["scales"] = [*map(float, attr(node, "scales")), 1.0]
    blocks = -(-shape[1] // at.lanes)

    def make(b: Builder, get: Get) -> Sequence[Value]:
        if place is None:
            return again(node, b, [get(x)], attributes)
        # Before version 13 an input that is not meant stands there, empty.
        none = b.constant(np.zeros(0, np.float32), "none") if modern and node.version < 13 else None
        if factors is not None:
            scale = b.constant(factors, "scales")
            return again(node, b, [get(x), none, scale] if modern else [get(x), scale], attributes)
        wanted = b.constant([shape[0], blocks, out[2], out[3], at.lanes], "sizes")
        return again(node, b, [get(x), none, none, wanted], attributes)

    return Candidate(node, (x,), (node.output,), make)
