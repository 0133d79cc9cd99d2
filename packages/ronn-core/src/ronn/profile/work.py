"""How much arithmetic a call does, estimated from operators and sizes; for kernels that do not say themselves."""

from __future__ import annotations

from ronn.ir.graph import Node, Value
from ronn.provider import Call

_PRODUCTS = ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "QLinearMatMul")
_FREE = frozenset(
    {
        "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Concat", "Split", "Slice", "Gather",
        "Expand", "Shape", "Size", "Constant", "Pad", "Tile", "DepthToSpace", "SpaceToDepth", "Block", "Unblock", "If",
        "Loop", "Scan", "Copy", "ConstantOfShape", "GatherElements", "GatherND", "ScatterND", "ScatterElements",
    }
)  # fmt: skip


def flops_of(call: Call) -> int:
    """Operations: two a multiply-add in products and convolutions, one an element elsewhere, none where data moves."""
    return sum(flops_of_node(node) for node in call.nodes)


def flops_of_node(node: Node) -> int:
    """The same of one node; 0 where sizes are not known."""
    result = _size(node.outputs[0]) if node.outputs else 0
    if node.op in _FREE:
        return 0
    if "Conv" in node.op:
        weight = _weight(node)
        if weight is not None:
            shape = weight.tensor.static_shape
            moved = _size(node.inputs[0]) if "Transpose" in node.op and node.inputs[0] is not None else result
            return 2 * moved * _product(shape) // max(_channels(node), 1)
    if node.op in _PRODUCTS or node.op.endswith("MatMul"):
        first = node.inputs[0]
        shape = _shape(first)
        if shape:
            trans = bool(node.attributes.get("transA", 0))
            return 2 * result * (shape[-2] if trans and len(shape) > 1 else shape[-1])
    return result


def _weight(node: Node) -> Value | None:
    """The weight of a convolution: its largest operand of rank 3 or more that no node makes. (A compiled graph has let
    go of the arrays of weights that were packed.)"""
    graph = node.graph
    given = None if graph is None else graph.inputs
    fixed = [
        v
        for v in node.inputs
        if v is not None
        and len(_shape(v)) >= 3
        and (v.is_const or (v.producer is None and given is not None and v not in given))
    ]
    return max(fixed, key=_size, default=None)


def _channels(node: Node) -> int:
    """Output channels: of a plain or blocked convolution, what the weights count once for each."""
    shape = _shape(node.outputs[0])
    transposed = "Transpose" in node.op
    source = _shape(node.inputs[0]) if transposed else shape
    if len(source) < 2:
        return 1
    # Blocked tensors hold channels at axis 1 and the last one.
    plain = len(_shape(_weight(node))) if _weight(node) is not None else len(source)
    return source[1] * source[-1] if len(source) > plain else source[1]


def _shape(value: Value | None) -> tuple[int, ...]:
    if value is None:
        return ()
    t = value.tensor
    return t.static_shape if t.shape is not None and t.is_static else ()


def _size(value: Value) -> int:
    t = value.tensor
    return _product(t.static_shape) if t.shape is not None and t.is_static else 0


def _product(shape: tuple[int, ...]) -> int:
    n = 1
    for d in shape:
        n *= d
    return n
