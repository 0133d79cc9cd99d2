"""Merges Conv, Gemm and MatMul with the bias and the activation behind them, for providers that take that as one."""

from __future__ import annotations

from collections.abc import Sequence

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, walk
from ronn.passes.fuse_silu import clip_bounds
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer_instead

_FUSED = {"Conv": "FusedConv", "Gemm": "FusedGemm", "MatMul": "FusedMatMul"}
_PLAIN = ("Relu", "Sigmoid", "Tanh", "HardSwish", "Softplus")
Activation = tuple[str, list[float]]


@define_pass("fuse-bias-activation", requires_types=True, keeps_types=True)
def fuse_bias_activation(graph: Graph, context: PassContext) -> bool:
    """Makes FusedConv, FusedGemm and FusedMatMul of an operator, its bias and its activation."""
    if context.claimed is None:
        return False
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        changed |= _bias(owner, node, context) or _activation(owner, node, context)
    return changed


def _bias(graph: Graph, node: Node, context: PassContext) -> bool:
    """MatMul + bias of the last dim."""
    if node.op != "Add" or node.domain != "" or node.version < 7 or len(node.inputs) != 2:
        return False
    for side in (0, 1):
        product, bias = node.inputs[side], node.inputs[1 - side]
        if product is None or bias is None or not _sole(graph, product, [node]):
            continue
        base = product.producer
        if base is None or base.op != "MatMul" or base.domain != "":
            continue
        shape, wanted = bias.tensor.shape, product.tensor.shape
        if shape is None or wanted is None or not 1 <= len(shape) <= len(wanted) or len(wanted) < 2:
            continue
        if shape[-1] is None or shape[-1] != wanted[-1] or any(d != 1 for d in shape[:-1]):
            continue
        builder = Builder(graph, node, context)
        if len(shape) > 1:
            if bias.data is None:
                continue
            bias = builder.constant(bias.data.reshape(-1), "bias")
        return offer_instead(builder, node, [node, base], "FusedMatMul", [*base.inputs[:2], bias], {}, domain="ronn")
    return False


def _activation(graph: Graph, node: Node, context: PassContext) -> bool:
    found = activation_of(node, graph)
    if found is None:
        return False
    source, (name, params), members = found
    base = source.producer
    if base is None or base.graph is not graph or not _sole(graph, source, members):
        return False
    if base.domain == "ronn" and base.attributes.get("activation", "") == "" and base.op in _FUSED.values():
        op = base.op
    elif base.domain == "" and base.op in _FUSED:
        op = _FUSED[base.op]
    else:
        return False
    if base.op == "Gemm" and base.version < 7:
        return False
    attributes = {**base.attributes, "activation": name}
    attributes.pop("activation_params", None)
    if params:
        attributes["activation_params"] = params
    builder = Builder(graph, node, context)
    return offer_instead(builder, node, [*members, base], op, base.inputs, attributes, domain="ronn")


def activation_of(node: Node, graph: Graph) -> tuple[Value, Activation, list[Node]] | None:
    """The value that ``node`` ends the activation of, the activation, and the nodes that make it."""
    source = node.input(0)
    if node.domain != "" or source is None:
        return None
    if node.op in _PLAIN:
        return source, (node.op, []), [node]
    if node.op in ("LeakyRelu", "Elu"):
        return source, (node.op, [float(attr(node, "alpha"))]), [node]
    if node.op == "HardSigmoid":
        return source, (node.op, [float(attr(node, "alpha")), float(attr(node, "beta"))]), [node]
    if node.op == "Gelu":
        return source, ("GeluTanh" if attr(node, "approximate", "none") == "tanh" else "Gelu", []), [node]
    if node.op == "Swish" and attr(node, "alpha", 1.0) == 1.0:
        return source, ("Silu", []), [node]
    if node.op == "Clip":
        return _clip(node, source)
    if node.op == "Mul" and node.version >= 7:
        for x, gate in (node.inputs, node.inputs[::-1]):
            sigmoid = None if gate is None else gate.producer
            if x is None or gate is None or sigmoid is None or sigmoid.op != "Sigmoid" or sigmoid.input(0) is not x:
                continue
            if sigmoid.domain == "" and _sole(graph, gate, [node]):
                return x, ("Silu", []), [node, sigmoid]
    return None


def _clip(node: Node, source: Value) -> tuple[Value, Activation, list[Node]] | None:
    bounds = clip_bounds(node.output)
    if bounds is None or source.dtype is None or source.dtype.bits > 32 or not source.dtype.is_float:
        return None
    low, high = bounds
    if (low is not None and low != low) or (high is not None and high != high):
        return None
    inf = float("inf")
    return source, ("Clip", [-inf if low is None else low, inf if high is None else high]), [node]


def _sole(graph: Graph, value: Value, users: Sequence[Node]) -> bool:
    """Whether nobody but ``users`` needs ``value``."""
    return not graph.is_output(value) and all(user in users for user, _ in value.uses)
