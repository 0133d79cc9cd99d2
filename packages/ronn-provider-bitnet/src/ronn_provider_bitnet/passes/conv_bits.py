"""Convolutions whose weights are one or two bits: float32 of -s, 0 and s, or integers behind DequantizeLinear."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import ronn_provider_bitnet.conv_ops  # noqa: F401  # declares BitConv
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, const, graphs, remove_dead
from ronn.passes.fuse_conv_bn import Affine, affine_of, batch_norm, per_channel
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_bitnet.kernels.conv_layout import window_of
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.activations import Images, taken_images
from ronn_provider_bitnet.passes.codes import Codes, few
from ronn_provider_bitnet.passes.conv_cost import bit_time, float_time
from ronn_provider_bitnet.passes.find_bits import GROUPS, SMALLEST, is_bits
from ronn_provider_bitnet.passes.refusing import leave
from ronn_provider_bitnet.passes.take_bits import LEAST
from ronn_provider_cpu.compiling import native_library

Array = np.ndarray
_MOST_BITS = 2
_SIZE = 56  # rows and columns of images of no known size, which hardly matter to ratios
_BROADCASTS = 7  # the opset from which on Add and its relatives do
_WORD, _VECTOR = 32, 16  # what groups of channels and of filters must be multiples of, whatever the machine


@define_pass("conv-bits", requires_types=True, keeps_types=True, late=True)
def conv_bits(graph: Graph, context: PassContext) -> bool:
    """Makes BitConv of convolutions with constant weights of -s, 0 and s (by filter, or by group of 32 to 256
    channels), or of at most four integers that DequantizeLinear scales, where that is faster than float32. Takes in the
    quantiser of images in front of it and what scales and shifts channels behind it, where there are any."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op not in ("Conv", "FusedConv") or node.domain not in ("", "ronn"):
                continue
            if not context.may_rewrite():
                return changed
            context.at = node
            changed = _rewrite(g, node, context) or changed
    return changed


def _rewrite(graph: Graph, node: Node, context: PassContext) -> bool:
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    if x is None or w is None or x.dtype is not DType.FLOAT32 or w.dtype is not DType.FLOAT32:
        return False
    found, old = _weights(w)
    if isinstance(found, str):
        return leave(node, found, context) if found else False
    taken = taken_images(x, LEAST)
    reason = _unfit(node, x, found.codes)
    if bias is not None and const(bias) is None:
        reason = "a bias that is not constant"
    if reason:
        return leave(node, reason, context)
    reason = _slower(node, taken, found, context)
    if reason:
        leave(node, reason, context)
        return bool(old) and _fold(graph, node, found, old[0], context)
    return _replace(graph, node, found, taken, old, context)


def _weights(w: Value) -> tuple[Codes | str, list[Node]]:
    """The codes of weights, or why there are none (nothing where it need not be said), and the nodes that made them."""
    data = const(w)
    if data is not None:
        if data.dtype != np.float32 or data.ndim < 3 or data.size < SMALLEST:
            return "", []
        return find_filters(data), []
    scaled = w.producer
    if scaled is None or scaled.op != "DequantizeLinear" or scaled.domain not in ("", "com.microsoft"):
        return "", []
    return dequantised_filters(scaled), [scaled]


def _unfit(node: Node, x: Value, codes: Array) -> str:
    """Why a convolution stays in float32; nothing where it need not."""
    m, each, *kernel = codes.shape
    group = int(attr(node, "group", 1))
    if len(kernel) not in (1, 2) or x.tensor.rank != codes.ndim:
        return f"{len(kernel)} spatial axes"
    if node.input(3) is not None:
        return "an addend"
    if any(int(p) < 0 for p in attr(node, "pads", ())):
        return "negative pads"
    if group > 1 and each == 1:
        return "depthwise: sums of a window's pixels alone are too short to gain from few bits"
    if group > 1 and (each % _WORD or (m // group) % _VECTOR):
        return f"groups of {each} channels and {m // group} filters, no multiples of {_WORD} and {_VECTOR}"
    return ""


def find_filters(w: Array) -> Codes | str:
    """The codes of float32 filters [M, C, kernel...] of -s, 0 and s by filter or group of channels; or why not."""
    m, channels, taps = len(w), w.shape[1], math.prod(w.shape[2:])
    none = "weights are not -s, 0 and s"
    if not is_bits(w[:1, : GROUPS[-1]].reshape(1, -1) if channels % GROUPS[-1] == 0 else w[:1].reshape(1, -1)).all():
        return none  # what most are found out by
    for group in GROUPS:
        width = group if group else channels
        if group >= channels or (group and channels % group):
            continue
        parts = w.reshape(m, channels // width, width * taps)
        if not is_bits(parts).all():
            continue
        zeros, scale = parts == 0, np.abs(parts).max(axis=2)
        if not np.isfinite(scale).all():
            return "weights that are not finite"
        signs = np.sign(w).astype(np.int8)
        if not zeros.any():
            return Codes((signs > 0).astype(np.uint8), scale, np.ones_like(scale), group, 1)
        return Codes((signs + 1).astype(np.uint8), scale, np.ones_like(scale), group, 2)
    return none


def dequantised_filters(node: Node) -> Codes | str:
    """The codes of a DequantizeLinear's filters, or why there are none."""
    q, scale, zero = (const(node.input(i)) for i in range(3))
    if q is None or scale is None or q.ndim < 3 or (node.input(2) is not None and zero is None):
        return "weights that are not constant"
    if q.dtype.kind == "f":
        return f"weights in {q.dtype}"
    m, channels, *kernel = q.shape
    taps = math.prod(kernel)
    zeros: Array = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    factors: Array = np.asarray(scale, np.float32)
    axis, block = int(attr(node, "axis", 1)) % q.ndim, int(attr(node, "block_size", 0))
    if not block:
        if factors.size > 1 and axis != 0:
            return "scales along another axis than that of filters"
        factors, zeros = (np.broadcast_to(a.reshape(-1, 1), (m, 1)) for a in (factors, zeros))
    elif axis != 1:
        return "blocks along another axis than that of channels"
    elif channels % block or (block < channels and block % _WORD):
        return f"blocks of {block} of {channels} channels, no multiples of {_WORD}"
    # Rows of weights in an order in which all that share a scale are neighbours: of channels, or of taps of blocks.
    by_tap, width = False, block * taps
    flat = q.reshape(m, -1)
    if block:
        parts = [a.reshape(m, channels // block, taps) for a in (factors, zeros)]
        by_tap = any((a != a[..., :1]).any() for a in parts)
        factors, zeros = (a.reshape(m, -1) if by_tap else a[..., 0] for a in parts)
        if by_tap:
            width, flat = block, q.reshape(m, -1, block, taps).swapaxes(2, 3).reshape(m, -1)
    found = few(flat, np.ascontiguousarray(factors), np.ascontiguousarray(zeros), width)
    if isinstance(found, str):
        return found
    if found.bits > _MOST_BITS:
        return "weights of more than four values"
    codes = found.codes
    if by_tap:
        codes = codes.reshape(m, -1, taps, block).swapaxes(2, 3)
    factors, zeros = found.scale, found.zero
    if by_tap and found.group:
        factors, zeros = (a.reshape(m, channels // block, *kernel) for a in (factors, zeros))
    return Codes(codes.reshape(q.shape), factors, zeros, block if found.group else 0, found.bits)


def _slower(node: Node, taken: Images, found: Codes, context: PassContext) -> str:
    """Why a convolution is better off in float32; nothing where it is not, or where few bytes are wanted."""
    if context.options.get("provider", {}).get("convolutions", "fast") == "small":
        return ""
    library, shape = native_library(), taken.source.tensor.shape
    if library is None or shape is None:
        return ""
    target = library.machine.target
    known = [d if isinstance(d, int) else usual for d, usual in zip(shape, (1, 0, _SIZE, _SIZE), strict=False)]
    known[1] = found.codes.shape[1] * int(attr(node, "group", 1))
    window = window_of(node, known, found.codes.shape)
    if min(window.out) < 1:
        return ""
    bits, floats = bit_time(window, found.bits, taken.planes, target), float_time(window, target)
    if bits <= floats:
        return ""
    return (
        f"float32 is faster than {8 * taken.planes}-bit activations, {floats / 1000:.0f} to {bits / 1000:.0f} us "
        "expected; the provider's option convolutions='small' keeps few bits"
    )


def _fold(graph: Graph, node: Node, found: Codes, scaled: Node, context: PassContext) -> bool:
    """Makes float32 constants of weights behind DequantizeLinear, which convolutions in blocks want."""
    codes = found.codes.astype(np.float32)
    width = found.group if found.group else codes.shape[1]

    def along(facts: Array) -> Array:
        """Facts as weights lie."""
        return np.repeat(facts.reshape(*facts.shape, *(1,) * (codes.ndim - facts.ndim)), width, axis=1)

    weights = (2 * codes - 1 if found.bits == 1 else codes - along(found.zero)) * along(found.scale)
    node.set_input(1, graph.constant(weights, context.fresh(graph, scaled.output.name)))
    remove_dead([scaled], graph)
    context.rewrote([node], detail=node.label)
    return True


def _replace(
    graph: Graph, node: Node, found: Codes, taken: Images, old: list[Node], context: PassContext
) -> bool:
    bias = node.input(2)
    last, scale, zero = node, found.scale, found.one_zero
    offset = None if zero is not None or found.bits == 1 else (-found.zero * scale).astype(np.float32)
    added = None if bias is None else np.asarray(const(bias), np.float32).reshape(-1)
    behind = _behind(graph, node)
    while behind is not None:
        last, (gain, shift) = behind
        wide = gain.reshape(-1, *(1,) * (scale.ndim - 1))
        scale = (scale * wide).astype(np.float32)
        offset = None if offset is None else (offset * wide).astype(np.float32)
        added = ((0 if added is None else added) * gain + shift).astype(np.float32)
        behind = _behind(graph, last)
    builder = Builder(graph, node, context)
    inputs = [
        taken.source, builder.constant(found.codes, "codes"), builder.constant(np.ascontiguousarray(scale), "scale"),
        None if added is None else builder.constant(added, "bias"),
        None if offset is None else builder.constant(np.ascontiguousarray(offset), "offset"),
    ]  # fmt: skip
    kept = ("auto_pad", "pads", "strides", "dilations", "group", "activation", "activation_params")
    attributes: dict[str, Any] = {
        "bits": found.bits, "zero": 1 if zero is None else zero, "channel_group": found.group, "planes": taken.planes,
        "least": taken.least, "together": int(taken.together),
        **{k: v for k, v in node.attributes.items() if k in kept},
    }  # fmt: skip
    return offer_instead(builder, last, [last, node, *old, *taken.nodes], "BitConv", inputs, attributes, domain=DOMAIN)


def _behind(graph: Graph, node: Node) -> tuple[Node, Affine] | None:
    """The node that alone uses ``node``'s output and multiplies or shifts its channels by constants, and by which:
    BatchNormalization, or Add, Sub, Mul or Div."""
    y = node.output
    if len(y.uses) != 1 or graph.is_output(y) or node.attributes.get("activation"):
        return None
    ((user, index),) = y.uses
    if user.domain != "" or user.graph is not graph:
        return None
    found: Affine | None = None
    if user.op == "BatchNormalization" and index == 0:
        found = batch_norm(user)
    elif user.op in ("Add", "Mul") or (user.op in ("Sub", "Div") and index == 0):
        data, channels = const(user.inputs[1 - index]), None if y.tensor.shape is None else y.tensor.shape[1]
        if data is not None and data.dtype == np.float32 and isinstance(channels, int) and user.version >= _BROADCASTS:
            vector = per_channel(node, data, channels)
            found = None if vector is None else affine_of(user.op, vector)
    if found is None or not all(np.isfinite(v.astype(np.float32)).all() for v in found):
        return None
    return user, found
