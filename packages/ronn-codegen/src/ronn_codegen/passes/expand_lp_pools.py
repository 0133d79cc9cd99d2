"""LpPool and GlobalLpPool by way of averages and sums of powers, which native kernels take."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass
from ronn_codegen.windows import Window, counts_of

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@define_pass("expand-lp-pools", requires_types=True, keeps_types=True)
def expand_lp_pools(graph: Graph, context: PassContext) -> bool:
    """Makes a root of an AveragePool of powers, times the elements of each window, of an LpPool."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op in ("LpPool", "GlobalLpPool") and node.domain == "" and node.version >= 2 and context.owns(node):
            changed |= _expand(owner, node, context)
    return changed


def _expand(graph: Graph, node: Node, context: PassContext) -> bool:
    x = node.inputs[0]
    if x is None or x.dtype is not DType.FLOAT32 or not x.tensor.is_static or len(x.tensor.static_shape) < 3:
        return False
    b, p = Builder(graph, node, context), int(attr(node, "p", 2))
    powers = b.op("Abs", x) if p == 1 else b.op("Mul", x, x) if p == 2 else _power(b, b.op("Abs", x), float(p))
    if node.op == "GlobalLpPool":
        axes = list(range(2, len(x.tensor.static_shape)))
        total = b.op("ReduceSum", powers, b.constant(np.array(axes, np.int64)), version=13, keepdims=1)
    else:
        given = {name: node.attributes[name] for name in _WINDOW if node.attributes.get(name) is not None}
        window = Window(
            x.tensor.static_shape[2:], given["kernel_shape"], given.get("strides"), given.get("dilations"),
            given.get("pads"), given.get("auto_pad"), given.get("ceil_mode"),
        )  # fmt: skip
        mean = b.op("AveragePool", powers, version=19, count_include_pad=1, **given)
        counts = counts_of(x.tensor.static_shape[2:], window, True, np.dtype(np.float32))
        total = b.op("Mul", mean, b.constant(counts[None, None]))
    y = total if p == 1 else b.op("Sqrt", total) if p == 2 else _power(b, total, 1 / p)
    take_over(graph, node.outputs[0], y)
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


def _power(b: Builder, x: Value, exponent: float) -> Value:
    return b.op("Pow", x, b.constant(np.float32(exponent)))
