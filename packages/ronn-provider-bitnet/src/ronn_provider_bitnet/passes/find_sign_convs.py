"""Convolutions of signs with weights of one bit."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import attr, const, graphs
from ronn.passes.manager import PassContext, define_pass
from ronn_provider_bitnet.passes.find_bits import SMALLEST, find
from ronn_provider_bitnet.passes.find_signs import replace_by_signs
from ronn_provider_bitnet.passes.sign_activations import find_sign_activations
from ronn_provider_bitnet.sign_ops import WINDOWS


@define_pass("find-sign-convs", requires_types=True, keeps_types=True, late=True)
def find_sign_convs(graph: Graph, context: PassContext) -> bool:
    """Makes SignConv of a Conv with weights of -s and s, an s for each output, of signs: Sign, Where of a comparison
    with 0, and other forms (see ``sign_activations``)."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op in ("Conv", "FusedConv") and node.domain in ("", "ronn") and context.may_rewrite():
                context.at = node
                changed = _convolution(g, node, context) or changed
    return changed


def _convolution(graph: Graph, node: Node, context: PassContext) -> bool:
    x, bias = node.inputs[0], node.input(2)
    signs = None if x is None else find_sign_activations(x)
    if signs is None:
        return False
    weights = _constant(node.input(1), context)
    if weights is None or weights.dtype != np.float32 or weights.ndim not in (3, 4) or weights.size < SMALLEST:
        context.refuse(node, f"weights are not constant float32 of rank 3 or 4, of {SMALLEST} elements or more")
        return False
    if int(attr(node, "group", 1)) != 1 or node.input(3) is not None or signs.mean:
        context.refuse(node, "groups of channels, an addend, or a factor for each row")
        return False
    if bias is not None and const(bias) is None:
        context.refuse(node, "a bias that is not constant")
        return False
    found = find(np.ascontiguousarray(weights.reshape(len(weights), -1)))
    if found is None or found.bits != 1 or found.group != 0:
        context.refuse(node, "weights are not -s and s by output")
        return False
    windows = {name: node.attributes[name] for name in WINDOWS if name in node.attributes}
    codes = found.codes.reshape(weights.shape)
    return replace_by_signs(graph, node, signs, codes, found.scale.reshape(-1), bias, "SignConv", windows, context)


def _constant(value: Value | None, context: PassContext) -> np.ndarray | None:
    """A constant, or what DequantizeLinear makes of one."""
    node = None if value is None else value.producer
    if node is None or node.op != "DequantizeLinear" or node.domain != "" or context.evaluate is None:
        return const(value)
    arrays = [const(v) for v in node.inputs]
    if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)):
        return None
    return context.evaluate(node, arrays)[0]
