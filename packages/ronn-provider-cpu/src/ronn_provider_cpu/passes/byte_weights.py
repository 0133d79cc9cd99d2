"""Products whose weights are bytes with a scale for each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node
from ronn.passes.edit import Builder, attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead
from ronn_provider_cpu.byte_ops import DOMAIN

_SMALLEST = 1 << 14  # elements of a matrix that lies in the nearest cache as float32 no longer


@define_pass("byte-weights", requires_types=True, keeps_types=True, late=True)
def byte_weights(graph: Graph, context: PassContext) -> bool:
    """Makes ByteMatMul of MatMul with weights that DequantizeLinear scales by columns."""
    if not _wanted(context.options.get("provider", {})):
        return False
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op in ("MatMul", "FusedMatMul") and node.domain in ("", "ronn") and context.may_rewrite():
                context.at = node
                changed = _fuse(g, node, context) or changed
    return changed


def _wanted(options: Mapping[str, Any]) -> bool:
    """Whether products run natively, in float32: bfloat16 does more for a product than bytes do."""
    from ronn_provider_cpu.compiling import native_library

    native = options.get("kernels", "native") == "native" and native_library() is not None
    return native and options.get("precision", "float32") == "float32"


def _fuse(graph: Graph, node: Node, context: PassContext) -> bool:
    x, b = node.inputs[0], node.inputs[1]
    scaled = None if b is None else b.producer
    if scaled is None or scaled.op != "DequantizeLinear" or scaled.domain != "" or x is None:
        return False
    w, scale, zero = (const(scaled.input(i)) for i in range(3))
    if w is None or scale is None or w.dtype != np.int8 or scale.dtype != np.float32 or w.ndim != 2:
        return False
    if w.size < _SMALLEST or x.dtype is not node.output.dtype or x.tensor.rank in (None, 0, 1):
        return False
    if scaled.input(2) is not None and (zero is None or zero.any()):
        return False
    by_columns = scale.shape == (w.shape[1],) and int(attr(scaled, "axis", 1)) in (1, -1)
    if not (scale.size == 1 or by_columns) or attr(scaled, "block_size", 0):
        return False
    builder = Builder(graph, node, context)
    factors = builder.constant(np.broadcast_to(scale.reshape(-1), (w.shape[1],)).copy(), "scale")
    attributes = {k: v for k, v in node.attributes.items() if k in ("activation", "activation_params")}
    inputs = [x, scaled.input(0), factors, node.input(2)]
    return offer_instead(builder, node, [node], "ByteMatMul", inputs, attributes, domain=DOMAIN)
