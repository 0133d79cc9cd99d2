"""Products whose weights a model keeps in two bits: MatMulNBits, and integers behind DequantizeLinear."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import ronn_provider_bitnet.ops  # noqa: F401  # declares BitLinear
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.activations import taken
from ronn_provider_cpu.kernels.contrib_integer import unpack

LEAST = 1e-30  # for rows of zeros, where nothing else is said


class Codes(NamedTuple):
    """Weights as BitLinear takes them: codes u8[N, K], scale f32[N, groups], zero, offset f32[N, groups] or None."""

    codes: np.ndarray
    scale: np.ndarray
    group: int
    zero: int
    offset: np.ndarray | None = None
    bits: int = 2


@define_pass("take-bits", requires_types=True, keeps_types=True, late=True)
def take_bits(graph: Graph, context: PassContext) -> bool:
    """Makes BitLinear of MatMulNBits with two bits, and of MatMul and Gemm with integer weights of at most four values
    that DequantizeLinear scales (INT2, UINT2, or wider ones that use no more). Weights that are -s and s only become
    one bit, scales that all blocks of a row have in common one a row."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if not context.may_rewrite():
                return changed
            context.at = node
            if node.op == "MatMulNBits" and int(attr(node, "bits", 4)) == 2:
                changed = _from_nbits(g, node, context) or changed
            elif node.op in ("MatMul", "Gemm", "FusedMatMul", "FusedGemm") and node.domain in ("", "ronn"):
                changed = _from_dequantised(g, node, context) or changed
    return changed


def _from_nbits(graph: Graph, node: Node, context: PassContext) -> bool:
    x, bias = node.inputs[0], node.input(5)
    packed, scales, zeros = (const(node.input(i)) for i in (1, 2, 3))
    if x is None or packed is None or scales is None or scales.dtype != np.float32 or x.dtype is not DType.FLOAT32:
        context.refuse(node, "weights or scales are not constant float32")
        return False
    if node.input(4) is not None or (node.input(3) is not None and zeros is None):
        context.refuse(node, "an order of groups, or zero points that are not constant")
        return False
    if bias is not None and const(bias) is None:
        context.refuse(node, "a bias that is not constant")
        return False
    k, n, block = (int(attr(node, name)) for name in ("K", "N", "block_size"))
    blocks = -(-k // block)
    codes = np.ascontiguousarray(unpack(packed.view(np.uint8).reshape(n, -1), 2)[:, :k])
    scale = scales.reshape(n, blocks)
    found = _with_zeros(codes, scale, block, _zeros(zeros, n, blocks))
    planes = 1 if int(attr(node, "accuracy_level", 0)) == 4 else 2
    return _make(graph, node, x, bias, found, planes, [node], context)


def _zeros(zeros: np.ndarray | None, n: int, blocks: int) -> np.ndarray:
    """Zero points f32[N, blocks] of MatMulNBits with two bits."""
    if zeros is None:
        return np.full((n, blocks), 2, np.float32)
    if zeros.dtype == np.uint8:
        return unpack(zeros.reshape(n, -1), 2)[:, :blocks].astype(np.float32)
    return zeros.reshape(n, blocks).astype(np.float32)


def _with_zeros(codes: np.ndarray, scale: np.ndarray, group: int, zeros: np.ndarray) -> Codes:
    """Scales that are repeated along a row become one, and codes of -1 and 1 about the zero point one bit."""
    if group and (scale == scale[:, :1]).all() and (zeros == zeros[:, :1]).all():
        scale, zeros, group = np.ascontiguousarray(scale[:, :1]), zeros[:, :1], 0
    first = zeros.reshape(-1)[0]
    if (zeros == first).all() and first == int(first):
        zero = int(first)
        if ((codes == zero - 1) | (codes == zero + 1)).all():
            return Codes((codes > zero).astype(np.uint8), scale, group, 1, bits=1)
        return Codes(codes, scale, group, zero)
    return Codes(codes, scale, group, 0, -zeros * scale)


def _from_dequantised(graph: Graph, node: Node, context: PassContext) -> bool:
    x, b, bias = node.inputs[0], node.inputs[1], node.input(2)
    scaled = None if b is None else b.producer
    if x is None or scaled is None or scaled.op != "DequantizeLinear" or scaled.domain != "":
        return False
    if x.dtype is not DType.FLOAT32 or x.tensor.rank in (None, 0, 1) or scaled.output.dtype is not DType.FLOAT32:
        return False
    transposed = False
    if node.op.endswith("Gemm"):
        transposed = bool(attr(node, "transB", 0))
        if attr(node, "alpha", 1.0) != 1.0 or attr(node, "beta", 1.0) != 1.0 or attr(node, "transA", 0):
            return False
    found = _dequantised(scaled, transposed)
    if isinstance(found, str):
        context.refuse(node, found)
        return False
    n = len(found.codes)
    if bias is not None and (const(bias) is None or bias.tensor.static_shape not in ((n,), (1, n))):
        context.refuse(node, "a bias that is not one number a column")
        return False
    return _make(graph, node, x, bias, found, 2, [node, scaled], context)


def _dequantised(node: Node, transposed: bool) -> Codes | str:
    """The weights of a DequantizeLinear as the rows of a product, or why not."""
    q, scale, zero = (const(node.input(i)) for i in range(3))
    if q is None or scale is None or q.ndim != 2 or (node.input(2) is not None and zero is None):
        return "weights that are not constant matrices"
    whole = q.astype(np.int64)
    zeros = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    if not whole.size:
        return "weights without elements"
    low = int(whole.min())
    if int(whole.max()) - low > 3:
        return "weights of more than four values"
    axis = int(attr(node, "axis", 1)) % 2
    block = int(attr(node, "block_size", 0))
    codes = (whole - low).astype(np.uint8)
    if not transposed:
        codes, axis = codes.T, 1 - axis
    n = len(codes)
    factors = np.asarray(scale, np.float32)
    if block:
        if axis != 1:
            return "blocks across the columns"
        by_row = (factors, zeros) if transposed else (factors.T, zeros.T)
        return _with_zeros(np.ascontiguousarray(codes), np.ascontiguousarray(by_row[0]), block, by_row[1] - low + 0.0)
    if factors.size > 1 and axis == 1:
        return "scales along K"
    rows = np.ascontiguousarray(np.broadcast_to(factors.reshape(-1, 1), (n, 1)))
    return _with_zeros(
        np.ascontiguousarray(codes), rows, 0, np.broadcast_to(zeros.reshape(-1, 1) - low + 0.0, (n, 1))
    )


def _make(
    graph: Graph, node: Node, x: Value, bias: Value | None, found: Codes, planes: int, old: list[Node],
    context: PassContext,
) -> bool:  # fmt: skip
    source, own_planes, least, more = taken(x, planes, LEAST)
    builder = Builder(graph, node, context)
    inputs = [
        source,
        builder.constant(found.codes, "codes"),
        builder.constant(np.ascontiguousarray(found.scale, np.float32), "scale"),
        None if bias is None else builder.constant(np.asarray(bias.data).reshape(-1), "bias"),
        None if found.offset is None else builder.constant(found.offset.astype(np.float32), "offset"),
    ]
    attributes: dict[str, Any] = {
        "bits": found.bits, "zero": found.zero, "group": found.group, "planes": own_planes, "least": least,
        **{k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")},
    }  # fmt: skip
    return offer_instead(builder, node, [*old, *more], "BitLinear", inputs, attributes, domain=DOMAIN)
