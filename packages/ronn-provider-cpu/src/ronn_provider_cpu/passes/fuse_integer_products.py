"""Dynamically quantised products: ``MatMulInteger`` and ``ConvInteger`` with the scaling that follows them.

``Mul(Cast(MatMulInteger(x, w)), Mul(x_scale, w_scale))`` plus a bias is ``MatMulIntegerToFloat``; the same of
``ConvInteger``, whose bias models add as integers (``Floor(Div(bias, scales))``), is ``ConvIntegerToFloat``.
"""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, graphs, remove_dead, take_over
from ronn.passes.manager import PassContext, define_pass
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_cpu.quantised_ops import DOMAIN

MS = "com.microsoft"


@define_pass("fuse-integer-products", requires_types=True)
def fuse_integer_products(graph: Graph, context: PassContext) -> bool:
    """Scale integer products to float32 where they are made."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op == "Mul" and node.domain == "" and context.may_rewrite():
                context.at = node
                changed = _fuse(g, node, context) or changed
    return changed


def _fuse(graph: Graph, node: Node, context: PassContext) -> bool:
    for i in (0, 1):
        cast, scales = node.inputs[i], _scales(node.inputs[1 - i])
        inner = _only(cast, "Cast", graph)
        if inner is None or scales is None or node.output.tensor.dtype is None or inner.inputs[0] is None:
            continue
        product = _only(inner.inputs[0], "MatMulInteger", graph)
        if product is not None:
            if not context.owns(product):
                return False
            return _matmul(graph, node, product, scales, context)
        found = _convolution(inner.inputs[0], scales, graph)
        if found is not None:
            if not context.owns(found[0]):
                return False
            return _conv(graph, node, *found, scales, context)
    return False


def _only(value: Value | None, op: str, graph: Graph) -> Node | None:
    """The node ``op`` that makes ``value`` for one reader."""
    node = None if value is None else value.producer
    if value is None or node is None or node.op != op or node.domain != "":
        return None
    return node if len(value.uses) == 1 and not graph.is_output(value) else None


def _scales(value: Value | None) -> tuple[Value, Value] | None:
    """The factors of ``Mul(x_scale, w_scale)``: one number computed at run time, and a constant."""
    node = None if value is None else value.producer
    if node is None or node.op != "Mul" or node.domain != "":
        return None
    a, b = node.inputs
    if a is None or b is None:
        return None
    if a.data is not None:
        a, b = b, a
    if a.data is not None or b.data is None or b.data.dtype != np.float32 or a.tensor.rank not in (0, 1):
        return None
    return (a, b) if a.tensor.rank == 0 or a.tensor.shape == (1,) else None


def _same(a: tuple[Value, Value], b: tuple[Value, Value] | None) -> bool:
    return b is not None and a[0] is b[0] and a[1].data is not None and np.array_equal(a[1].data, b[1].data)  # type: ignore[arg-type]


# --- matrix products


def _matmul(graph: Graph, node: Node, product: Node, scales: tuple[Value, Value], context: PassContext) -> bool:
    x, w = product.inputs[:2]
    if x is None or w is None or w.data is None or w.data.ndim != 2 or scales[1].data is None:
        return False
    if scales[1].data.size not in (1, w.data.shape[1]) or scales[1].data.ndim > 1:
        return False
    root, bias = _bias_behind(graph, node, w.data.shape[1])
    b = Builder(graph, root, context)
    inputs = [x, w, *scales, product.input(2), product.input(3), bias]
    made = b.node("MatMulIntegerToFloat", inputs, domain=MS, version=1)
    if not context.owns(made):
        b.discard()
        return False
    _replace(graph, root, made, b, context)
    return True


def _bias_behind(graph: Graph, node: Node, columns: int) -> tuple[Node, Value | None]:
    """The ``Add`` of a constant per column that alone follows ``node``, with it; else ``node`` and nothing."""
    users = node.output.consumers
    if len(users) != 1 or graph.is_output(node.output) or users[0].op != "Add" or users[0].domain != "":
        return node, None
    other = next((v for v in users[0].inputs if v is not node.output), None)
    if other is None or other.data is None or other.data.shape != (columns,):
        return node, None
    return users[0], other


# --- convolutions


def _convolution(value: Value, scales: tuple[Value, Value], graph: Graph) -> tuple[Node, Value | None] | None:
    """The ``ConvInteger`` behind ``value``, and the bias that was quantised with the same scales."""
    conv = _only(value, "ConvInteger", graph)
    if conv is not None:
        return conv, None
    add = _only(value, "Add", graph)
    if add is None:
        return None
    for i in (0, 1):
        conv, bias = _only(add.inputs[i], "ConvInteger", graph), _quantised_bias(add.inputs[1 - i], scales)
        if conv is not None and bias is not None:
            return conv, bias
    return None


def _quantised_bias(value: Value | None, scales: tuple[Value, Value]) -> Value | None:
    """The constant c of ``Reshape(Cast(Floor(Div(c, scales))))``."""
    for op in ("Reshape", "Cast", "Floor", "Div"):
        node = None if value is None else value.producer
        if node is None or node.op != op or node.domain != "":
            return None
        if op == "Div":
            bias = node.inputs[0]
            fits = bias is not None and bias.data is not None and bias.data.ndim == 1
            return bias if fits and _same(scales, _scales(node.inputs[1])) else None
        value = node.inputs[0]
    return None


def _conv(
    graph: Graph, node: Node, conv: Node, bias: Value | None, scales: tuple[Value, Value], context: PassContext
) -> bool:
    x, w = conv.inputs[:2]
    if x is None or w is None or w.data is None or scales[1].data is None or w.data.ndim not in (3, 4):
        return False
    filters, rank = w.data.shape[0], w.data.ndim - 2
    per_filter = [filters, *(1,) * rank]
    shape = list(scales[1].data.shape)
    if scales[1].data.size != 1 and shape not in (per_filter, [1, *per_filter]):
        return False
    if bias is not None and (bias.data is None or bias.data.size != filters):
        return False
    sizes = x.tensor.shape
    auto = attr(conv, "auto_pad", "NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else str(auto)
    if auto.startswith("SAME") and (sizes is None or not all(isinstance(d, int) for d in sizes[2:])):
        return False
    spatial = [int(d) for d in sizes[2:]] if auto.startswith("SAME") and sizes is not None else [1] * rank  # type: ignore[arg-type]
    strides, dilations = ints(attr(conv, "strides"), rank, 1), ints(attr(conv, "dilations"), rank, 1)
    pads = resolve_pads(auto, attr(conv, "pads"), spatial, w.data.shape[2:], strides, dilations)
    b = Builder(graph, node, context)
    w_scale = scales[1] if scales[1].data.ndim <= 1 else b.constant(scales[1].data.reshape(-1))
    attributes = {
        "strides": list(strides), "dilations": list(dilations), "group": int(attr(conv, "group", 1)),
        "pads": [p[0] for p in pads] + [p[1] for p in pads],
    }  # fmt: skip
    inputs = [x, w, scales[0], w_scale, conv.input(2), conv.input(3), bias]
    made = b.node("ConvIntegerToFloat", inputs, attributes, domain=DOMAIN, version=1)
    if not context.owns(made):
        b.discard()
        return False
    _replace(graph, node, made, b, context)
    return True


def _replace(graph: Graph, root: Node, made: Node, b: Builder, context: PassContext) -> None:
    take_over(graph, root.output, made.output)
    context.rewrote(b.nodes, detail=root.label)
    remove_dead([root], graph)
