"""Gathers rows before computing on them, where a whole constant table would be computed for a few rows."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

_UNARY = frozenset({"Cast", "Neg", "Abs", "Exp", "Sqrt", "Tanh", "Relu", "Sigmoid"})
_BINARY = frozenset({"Mul", "Sub", "Add", "Div"})


@define_pass("narrow-gather", requires_types=True, keeps_types=True)
def narrow_gather(graph: Graph, context: PassContext) -> bool:
    """Makes Gather(f(table), i) f(Gather(table, i)), for constant tables that are too large to compute ahead."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "Gather" and node.domain == "" and int(attr(node, "axis", 0)) == 0:
            changed |= _narrow(owner, node, context)
    return changed


def _narrow(graph: Graph, node: Node, context: PassContext) -> bool:
    table, index = node.inputs
    if table is None or index is None or not _constant_table(graph, table, 4):
        return False
    builder = Builder(graph, node, context)
    value = _rows(builder, table, index)
    take_over(graph, node.output, value)
    context.rewrote(builder.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


def _constant_table(graph: Graph, value: Value, depth: int) -> bool:
    """Whether ``value`` is computed from constants alone, row by row of axis 0, for one user."""
    node = value.producer
    if node is None or node.domain != "" or node.graph is not graph or depth == 0 or len(node.outputs) != 1:
        return False
    if len(value.uses) != 1 or graph.is_output(value) or value.tensor.rank is None or value.tensor.rank < 1:
        return False
    if node.op in _UNARY:
        return _leaf(graph, node.input(0), value, depth)
    if node.op in _BINARY and node.version >= 7 and len(node.inputs) == 2:
        full = [v for v in node.inputs if v is not None and v.tensor.shape == value.tensor.shape]
        other = [v for v in node.inputs if v not in full]
        if not full or not all(_per_row(v, value) for v in other):
            return False
        return all(_leaf(graph, v, value, depth) for v in full)
    return False


def _leaf(graph: Graph, value: Value | None, like: Value, depth: int) -> bool:
    if value is None or value.tensor.rank != like.tensor.rank:
        return False
    return value.data is not None or _constant_table(graph, value, depth - 1)


def _per_row(value: Value | None, table: Value) -> bool:
    """Whether a constant operand can be applied to gathered rows: it varies per row, or not along axis 0 at all."""
    if value is None or value.data is None:
        return False
    rank, shape = table.tensor.rank, table.tensor.shape
    assert rank is not None and shape is not None
    return value.data.ndim < rank or (value.data.ndim == rank and value.data.shape[0] in (1, shape[0]))


def _rows(b: Builder, value: Value, index: Value) -> Value:
    if value.data is not None:
        return b.op("Gather", value, index, axis=0)
    node = value.producer
    assert node is not None
    rank, shape = value.tensor.rank, value.tensor.shape
    assert rank is not None and shape is not None
    inputs: list[Value | None] = []
    for v in node.inputs:
        assert v is not None
        whole = v.data is None or (v.data.ndim == rank and v.data.shape[0] == shape[0] and shape[0] != 1)
        if whole:
            inputs.append(_rows(b, v, index))
        elif v.data is not None and v.data.ndim == rank:
            inputs.append(b.constant(v.data[0]))
        else:
            inputs.append(v)
    return b.node(node.op, inputs, node.attributes, version=node.version).output
