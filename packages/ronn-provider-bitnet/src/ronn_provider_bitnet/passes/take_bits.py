"""Products whose weights a model keeps in few bits: MatMulNBits, and integers behind DequantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_codegen.templates.nbits_pack import unpack
from ronn_provider_bitnet.kernels.layout import WIDEST
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.activations import taken
from ronn_provider_bitnet.passes.codes import Codes, few
from ronn_provider_bitnet.passes.dequantised import Behind, behind, given_bytes, weights
from ronn_provider_bitnet.passes.refusing import leave

LEAST = 1e-30  # for rows of zeros, where nothing else is said
PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm")
Array = np.ndarray


@define_pass("take-bits", requires_types=True, keeps_types=True, late=True)
def take_bits(graph: Graph, context: PassContext) -> bool:
    """Makes BitLinear of MatMulNBits, and of MatMul and Gemm with integer weights of at most 16
    values that DequantizeLinear scales (INT2, UINT2, INT4, UINT4, or wider ones that use no more). Weights of at most
    four values become two bits, those that are -s and s only one, scales that all blocks of a row have in common one a
    row. Bytes that DequantizeLinear turns into activations with a constant scale stay bytes."""
    changed = False
    for g in graphs(graph):
        known: dict[tuple[Node, bool], Codes | str] = {}
        for node in g:
            if not context.may_rewrite():
                return changed
            context.at = node
            if node.op == "MatMulNBits":
                changed = _from_nbits(g, node, context) or changed
            elif node.op in PRODUCTS and node.domain in ("", "ronn"):
                changed = _from_dequantised(g, node, known, context) or changed
    return changed


# --- MatMulNBits


def _from_nbits(graph: Graph, node: Node, context: PassContext) -> bool:
    x, bias = node.inputs[0], node.input(5)
    packed, scales, zeros, order = (const(node.input(i)) for i in range(1, 5))
    k, n, block, bits = (int(attr(node, name)) for name in ("K", "N", "block_size", "bits"))
    blocks = -(-k // block)
    reason = ""
    if bits not in (2, 4, 8):
        reason = f"weights of {bits} bits: MatMulNBits has 2, 4 and 8"
    elif x is None or x.dtype is not DType.FLOAT32:
        reason = "activations are not float32"
    elif packed is None or scales is None or scales.dtype != np.float32:
        reason = "weights or scales are not constant float32"
    elif node.input(3) is not None and zeros is None:
        reason = "zero points that are not constant"
    elif node.input(4) is not None and (order is None or (order[:k] != np.arange(k) // block).any()):
        reason = "an order of groups"
    elif bias is not None and const(bias) is None:
        reason = "a bias that is not constant"
    if reason or x is None or packed is None or scales is None:
        return leave(node, reason, context)
    codes = unpack(packed.view(np.uint8).reshape(n, -1), bits)[:, :k]
    each = _zeros(zeros, n, blocks, bits)
    found = few(codes, scales.reshape(n, blocks), each, block)
    if isinstance(found, str) and bits == 8 and min(block, k) <= WIDEST:
        found = Codes(np.ascontiguousarray(codes), scales.reshape(n, blocks), each, block, 8)
    if isinstance(found, str):
        return leave(node, f"{found}: a product of float32 with {bits} bits takes them", context)
    planes = 1 if int(attr(node, "accuracy_level", 0)) == 4 else 2
    return make(graph, node, x, const(bias), found, planes, [node], context)


def _zeros(zeros: Array | None, n: int, blocks: int, bits: int) -> Array:
    """Zero points f32[N, blocks] of MatMulNBits."""
    if zeros is None:
        return np.full((n, blocks), 1 << (bits - 1), np.float32)
    if zeros.dtype == np.uint8:
        return unpack(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    return zeros.reshape(n, blocks).astype(np.float32)


# --- DequantizeLinear


def _from_dequantised(
    graph: Graph, node: Node, known: dict[tuple[Node, bool], Codes | str], context: PassContext
) -> bool:
    x, b = node.inputs[0], node.inputs[1]
    source = behind(b, node.op.endswith("Gemm") and bool(attr(node, "transB", 0)))
    if x is None or b is None or source is None:
        return False
    if x.dtype is not DType.FLOAT32 or b.dtype is not DType.FLOAT32 or x.tensor.rank in (None, 0, 1):
        return leave(node, "operands that are not float32, or a vector on the left", context)
    if node.op.endswith("Gemm") and (attr(node, "alpha", 1.0) != 1.0 or attr(node, "transA", 0)):
        return leave(node, "alpha or transA", context)
    key = (source.node, source.by_row)
    if key not in known:
        known[key] = weights(source)
    found = known[key]
    if isinstance(found, str):
        return leave(node, found, context)
    bias = row_of(node.input(2), len(found.codes))
    if isinstance(bias, str):
        return leave(node, bias, context)
    if bias is not None and node.op.endswith("Gemm"):
        bias = bias * np.float32(attr(node, "beta", 1.0))
    return _with_bytes(graph, node, x, bias, found, source, context) or make(
        graph, node, x, bias, found, 2, [node, *source.nodes], context
    )


def row_of(bias: Value | None, n: int) -> Array | str | None:
    """A bias as f32[N], or why not."""
    if bias is None:
        return None
    data = const(bias)
    if data is None or data.dtype != np.float32 or data.shape not in ((n,), (1, n), (1,), (1, 1), ()):
        return "a bias that is not one number a column"
    return np.broadcast_to(data.reshape(-1), (n,)).copy()


def _with_bytes(
    graph: Graph, node: Node, x: Value, bias: Array | None, found: Codes, source: Behind, context: PassContext
) -> bool:
    """An integer product, where the activations are bytes."""
    given = given_bytes(x)
    if given is None:
        return False
    b = Builder(graph, node, context)
    constants = [b.constant(a) for a in integer_weights(found)]
    inputs = [given.x, *constants, given.scale, given.zero, _maybe(b, bias, "bias")]
    attributes = {
        "bits": max(found.bits, 2), "group": found.group,
        **{k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")},
    }  # fmt: skip
    old = [node, *source.nodes, given.node]
    return offer_instead(b, node, old, "BitIntegerToFloat", inputs, attributes, domain=DOMAIN)


def integer_weights(found: Codes) -> tuple[Array, Array, Array]:
    """Codes, i32 base and scale of ``(code + base) * scale``."""
    codes, scale, zero = found.codes, found.scale, found.zero
    if found.bits == 1:  # 2 * code - 1
        codes, zero = codes * np.uint8(2), np.ones_like(scale)
    base = np.ascontiguousarray(-zero).astype(np.int32)
    return codes, base, scale


# --- what is made


def make(
    graph: Graph, node: Node, x: Value, bias: Array | None, found: Codes, planes: int, old: Sequence[Node],
    context: PassContext,
) -> bool:  # fmt: skip
    """Puts BitLinear in the place of ``node``, with activations of ``planes`` bytes or as a quantiser in front has
    them."""
    source, own_planes, least, more = taken(x, planes, LEAST)
    builder, zero = Builder(graph, node, context), found.one_zero
    offset = None if zero is not None else -found.zero * found.scale
    inputs = [
        source,
        builder.constant(found.codes, "codes"),
        builder.constant(np.ascontiguousarray(found.scale, np.float32), "scale"),
        _maybe(builder, None if bias is None else bias.reshape(-1), "bias"),
        _maybe(builder, None if offset is None else offset.astype(np.float32), "offset"),
    ]
    attributes: dict[str, Any] = {
        "bits": found.bits, "zero": 0 if zero is None else zero, "group": found.group, "planes": own_planes,
        "least": least, **{k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")},
    }  # fmt: skip
    return offer_instead(builder, node, [*old, *more], "BitLinear", inputs, attributes, domain=DOMAIN)


def _maybe(b: Builder, data: Array | None, stem: str) -> Value | None:
    return None if data is None else b.constant(data, stem)
