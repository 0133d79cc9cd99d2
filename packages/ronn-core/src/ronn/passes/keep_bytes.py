"""Weights of bytes that a model scales by hand stay bytes: they are written as what providers know."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, const, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

_SMALLEST = 1 << 14  # elements; less is folded


@define_pass("keep-bytes", requires_types=True, keeps_types=True)
def keep_bytes(graph: Graph, context: PassContext) -> bool:
    """Makes DequantizeLinear(w, s) of Cast(w) * s for int8 weights of products with a scale for each column."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "Mul" and node.domain == "" and node.version >= 13:
            changed |= _keep(owner, node, context)
    return changed


def _keep(graph: Graph, node: Node, context: PassContext) -> bool:
    for value, other in (node.inputs, node.inputs[::-1]):
        cast, scale = None if value is None else value.producer, const(other)
        if cast is None or scale is None or cast.op != "Cast" or cast.domain != "" or scale.dtype != np.float32:
            continue
        weights = cast.inputs[0]
        w = const(weights)
        if w is None or w.dtype != np.int8 or w.ndim != 2 or w.size < _SMALLEST or node.output.dtype is None:
            continue
        by_columns = scale.shape in ((w.shape[1],), (1, w.shape[1]))
        if not (by_columns or (scale.size == 1 and scale.ndim <= 2)) or not _only_weights(graph, node.output):
            continue
        b = Builder(graph, node, context)
        factors = b.constant(scale.reshape(-1) if by_columns else scale.reshape(()), "scale")
        made = b.node("DequantizeLinear", [weights, factors], {"axis": 1} if by_columns else {})
        take_over(graph, node.output, made.output)
        context.rewrote(b.nodes, detail=node.label)
        remove_dead([node], graph)
        return True
    return False


def _only_weights(graph: Graph, value: Value) -> bool:
    """Whether products alone use ``value``, on the right."""
    if not value.uses or graph.is_output(value) or value.dtype is None or value.dtype.numpy != np.float32:
        return False
    return all(user.op == "MatMul" and user.domain == "" and index == 1 for user, index in value.uses)
