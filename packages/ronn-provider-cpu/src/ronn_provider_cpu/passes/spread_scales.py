"""QuantizeLinear and DequantizeLinear with a scale for each block, as arithmetic on tensors with an axis of blocks."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

_RANGES = {
    DType.UINT8: (0, 255), DType.INT8: (-128, 127), DType.UINT16: (0, 65535), DType.INT16: (-32768, 32767),
    DType.UINT4: (0, 15), DType.INT4: (-8, 7),
}  # fmt: skip


@define_pass("spread-scales", requires_types=True, keeps_types=True)
def spread_scales(graph: Graph, context: PassContext) -> bool:
    """Gives the blocks of a QuantizeLinear or DequantizeLinear an axis, along which scales and zero points repeat."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op in ("QuantizeLinear", "DequantizeLinear") and node.domain == "" and context.owns(node):
            changed |= _spread(owner, node, context)
    return changed


def _spread(graph: Graph, node: Node, context: PassContext) -> bool:
    x, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
    if (
        not attr(node, "block_size", 0)
        or x is None
        or scale is None
        or x.is_const
        or not (x.tensor.is_static and scale.tensor.is_static)
    ):
        return False
    shape, block = list(x.tensor.static_shape), int(attr(node, "block_size"))
    axis = int(attr(node, "axis", 1)) % max(len(shape), 1)
    if not shape or shape[axis] % block or len(scale.tensor.static_shape) != len(shape) or node.version < 21:
        return False
    quantises = node.op == "QuantizeLinear"
    small = node.outputs[0].dtype if quantises else x.dtype
    if small not in _RANGES or (x.dtype if quantises else scale.dtype) is not DType.FLOAT32:
        return False
    if attr(node, "precision", 0) or scale.dtype is not DType.FLOAT32:
        return False
    if not quantises and node.outputs[0].dtype is not DType.FLOAT32:
        return False
    parts = [*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :]]
    one = [*shape[:axis], shape[axis] // block, 1, *shape[axis + 1 :]]
    if scale.tensor.size != x.tensor.size // block:
        return False
    b = Builder(graph, node, context)

    def laid(v: Value, to: list[int]) -> Value:
        return b.op("Reshape", v, b.constant(np.array(to, np.int64)))

    def real(v: Value) -> Value:
        return b.op("Cast", v, to=DType.FLOAT32.code)

    factor = laid(scale, one)
    offset = None if zero is None else real(laid(zero, one))
    if quantises:
        low, high = (b.constant(np.float32(v)) for v in _RANGES[small])
        y = b.op("Round", b.op("Div", laid(x, parts), factor))
        y = y if offset is None else b.op("Add", y, offset)
        # NaN becomes the lowest value.
        y = b.op("Where", b.op("GreaterOrEqual", y, low), b.op("Min", y, high), low)
        y = b.op("Cast", y, to=small.code)
    else:
        y = real(laid(x, parts))
        y = y if offset is None else b.op("Sub", y, offset)
        y = b.op("Mul", y, factor)
    take_over(graph, node.outputs[0], laid(y, shape))
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True
