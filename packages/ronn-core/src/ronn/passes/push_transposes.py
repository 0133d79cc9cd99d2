"""Moves transposes through operators that do not care, where fewer remain, and into the flags of Gemm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, ints, remove_dead, replace_value, take_over, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.records import dataclass, field

MAX_DEPTH = 24
UNARY = frozenset({
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "Ceil", "Celu", "Cos",
    "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
})  # fmt: skip
NARY = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "And", "Or", "Xor", "Equal", "Greater", "Less", "GreaterOrEqual",
    "LessOrEqual", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Max", "Min", "Mean", "Sum", "Where",
})  # fmt: skip
REDUCE = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
Perm = tuple[int, ...]


@define_pass("push-transposes", requires_types=True, keeps_types=True)
def push_transposes(graph: Graph, context: PassContext) -> bool:
    """Merges and cancels transposes, also through elementwise operators, Concat, Pad, Softmax and reductions."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.domain != "":
            continue
        if node.op == "Transpose":
            twin = _merge(owner, node, context)
            changed |= _pull(owner, node if twin is None else twin, context) or twin is not None
        elif node.op == "Reshape":
            changed |= _split_again(owner, node, context)
        elif node.op in ("Gemm", "MatMul"):
            changed |= _into_gemm(owner, node, context)
    return changed


@dataclass
class _Plan:
    """What computing a value in another layout takes."""

    gain: int = 0  # transposes that go, less those that come
    steps: dict[Value, Perm] = field(default_factory=dict)  # values that are computed anew, and how they are permuted


def perm_of(node: Node) -> Perm | None:
    """The permutation of a Transpose; None when the rank is not known."""
    perm = attr(node, "perm")
    if perm is not None:
        return tuple(int(p) for p in perm)
    source = node.input(0)
    rank = None if source is None else source.tensor.rank
    return None if rank is None else tuple(range(rank))[::-1]


def _merge(graph: Graph, node: Node, context: PassContext) -> Node | None:
    """Lets the users of ``node`` use the same transpose of an earlier node, which is returned: then there is one."""
    source, perm = node.input(0), perm_of(node)
    if source is None or perm is None or graph.is_output(node.output):
        return None
    for twin in source.consumers:
        if twin is node or twin.op != "Transpose" or twin.domain != "" or twin.graph is not graph:
            continue
        if perm_of(twin) == perm and _precedes(twin, node):
            graph.replace_uses(node.output, twin.output)
            context.rewrote([twin], detail=node.label)
            graph.remove(node)
            return twin
    return None


def _precedes(first: Node, second: Node) -> bool:
    graph = first.graph
    assert graph is not None
    for node in graph:
        if node is first or node is second:
            return node is first
    return False


def _pull(graph: Graph, node: Node, context: PassContext) -> bool:
    """Computes what ``node`` transposes in the transposed layout to begin with, when that saves transposes."""
    source, perm = node.input(0), perm_of(node)
    if source is None or perm is None or source.data is not None:
        return False
    plan = _Plan(gain=1)
    if source.producer is None or source.producer.op == "Transpose":
        inner = source.producer
        if inner is None or inner.domain != "" or inner.graph is None or perm_of(inner) is None:
            return False
    elif not _plan(graph, source, perm, plan, 0) or plan.gain <= 0:
        return False
    builder = Builder(graph, node, context)
    value = _make(builder, source, perm, plan)
    if value.producer in builder.nodes and value is not source:
        take_over(graph, node.output, value)
    else:
        identity = replace_value(graph, node.output, value, context)
        if identity is not None:
            builder.nodes.append(identity)
    context.rewrote(builder.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


def _plan(graph: Graph, value: Value, perm: Perm, plan: _Plan, depth: int) -> bool:
    """Whether ``value`` can be had permuted by ``perm``; counts the cost."""
    if value in plan.steps:
        return plan.steps[value] == perm
    if value.data is not None:
        return value.data.ndim <= len(perm)
    node = value.producer
    if node is not None and node.op == "Transpose" and node.domain == "":
        inner = perm_of(node)
        source = node.input(0)
        if inner is not None and source is not None and len(inner) == len(perm):
            together = tuple(inner[p] for p in perm)
            dies = len(value.uses) == 1 and not graph.is_output(value) and node.graph is graph
            plan.gain += (1 if dies else 0) - (0 if together == tuple(range(len(perm))) else 1)
            return True
    if node is not None and depth < MAX_DEPTH and _passes(graph, node, value, perm):
        plan.steps[value] = perm
        return all(_plan(graph, v, perm, plan, depth + 1) for v in _moved_inputs(node) if v is not None)
    if value.tensor.rank != len(perm):
        return False
    plan.gain -= 1
    return True


def _moved_inputs(node: Node) -> Sequence[Value | None]:
    """The inputs that change layout with the output."""
    return node.inputs if node.op in NARY or node.op == "Concat" else node.inputs[:1]


def _passes(graph: Graph, node: Node, value: Value, perm: Perm) -> bool:
    """Whether ``node`` does the same in another layout, and nobody else wants the old one."""
    if node.domain != "" or node.graph is not graph or len(node.outputs) != 1:
        return False
    if len(value.uses) != 1 or graph.is_output(value) or value.tensor.rank != len(perm):
        return False
    rank = len(perm)
    if node.op in UNARY:
        return True
    if node.op in NARY:
        if node.version < 8:
            return False
        return all(
            v is not None and (v.tensor.rank == rank or (v.data is not None and v.data.ndim <= rank))
            for v in node.inputs
        )
    if node.op == "Concat":
        return node.version >= 4 and all(v is not None and v.tensor.rank == rank for v in node.inputs)
    if node.op in ("Softmax", "LogSoftmax"):
        return node.version >= 13
    if node.op == "Pad":
        return node.version >= 11 and node.input(3) is None and ints(node.input(1)) is not None
    if node.op in REDUCE:
        return bool(attr(node, "keepdims", 1)) and _axes(node) is not None
    return False


def _axes(node: Node) -> list[int] | None:
    """The axes of a reduction where they are known and not all of them by default."""
    if node.input(1) is not None:
        return ints(node.input(1))
    axes = attr(node, "axes")
    return None if axes is None else [int(a) for a in axes]


def _make(b: Builder, value: Value, perm: Perm, plan: _Plan) -> Value:
    """``value`` permuted by ``perm``, made as planned."""
    if value.data is not None:
        if value.data.size == 1:
            return value
        spread = value.data.reshape((1,) * (len(perm) - value.data.ndim) + value.data.shape)
        return b.constant(np.ascontiguousarray(np.transpose(spread, perm)))
    node = value.producer
    if node is not None and node.op == "Transpose" and node.domain == "":
        inner, source = perm_of(node), node.input(0)
        if inner is not None and source is not None and len(inner) == len(perm):
            together = tuple(inner[p] for p in perm)
            if together == tuple(range(len(perm))):
                return source
            return b.op("Transpose", source, perm=list(together))
    if value not in plan.steps:
        return b.op("Transpose", value, perm=list(perm))
    assert node is not None
    moved = _moved_inputs(node)
    inputs = [None if v is None else _make(b, v, perm, plan) for v in moved] + list(node.inputs[len(moved) :])
    attributes = dict(node.attributes)
    rank = len(perm)
    if node.op in ("Concat", "Softmax", "LogSoftmax"):
        attributes["axis"] = perm.index(int(attr(node, "axis", -1)) % rank)
    elif node.op == "Pad":
        pads = ints(node.input(1))
        assert pads is not None
        inputs[1] = b.constant([pads[p] for p in perm] + [pads[rank + p] for p in perm])
    elif node.op in REDUCE:
        axes = _axes(node)
        assert axes is not None
        new = sorted(perm.index(a % rank) for a in axes)
        if node.input(1) is not None:
            inputs[1] = b.constant(new)
        else:
            attributes["axes"] = new
    return b.node(node.op, inputs, attributes, version=node.version).output


def _split_again(graph: Graph, node: Node, context: PassContext) -> bool:
    """Leading dims merged, the others transposed, the leading ones split again: one Transpose without reshapes."""
    inner = _sole_producer(graph, node.input(0), "Transpose")
    merge = None if inner is None else _sole_producer(graph, inner.input(0), "Reshape")
    if inner is None or merge is None or merge.input(0) is None:
        return False
    source, perm = merge.input(0), perm_of(inner)
    assert source is not None
    before, middle, after = source.tensor.shape, merge.output.tensor.shape, node.output.tensor.shape
    if perm is None or perm[0] != 0 or before is None or middle is None or after is None or len(before) != len(after):
        return False
    lead = len(before) - len(perm) + 1
    if lead < 2 or None in before or None in middle or None in after:
        return False
    # Equal tails, none of them empty, leave only one way to merge the leading dims.
    tail = tuple(before[lead + p - 1] for p in perm[1:])
    if before[lead:] != middle[1:] or after[:lead] != before[:lead] or after[lead:] != tail or 0 in before:
        return False
    builder = Builder(graph, node, context)
    made = builder.node("Transpose", [source], {"perm": [*range(lead), *(lead + p - 1 for p in perm[1:])]})
    take_over(graph, node.output, made.output)
    context.rewrote([made], detail=node.label)
    remove_dead([node], graph)
    return True


def _sole_producer(graph: Graph, value: Value | None, op: str) -> Node | None:
    """The node of operator ``op`` that makes ``value`` for one user only."""
    node = None if value is None else value.producer
    if node is None or value is None or node.op != op or node.domain != "" or node.graph is not graph:
        return None
    return node if len(value.uses) == 1 and not graph.is_output(value) else None


def _into_gemm(graph: Graph, node: Node, context: PassContext) -> bool:
    """Gemm of a transposed matrix is Gemm with a flag; so is MatMul of two matrices, one transposed."""
    if len(node.inputs) < 2 or any(v is None or v.tensor.rank != 2 for v in node.inputs[:2]):
        return False
    flips = [_transposed_matrix(graph, v) for v in node.inputs[:2]]
    if all(f is None for f in flips):
        return False
    dtype = node.output.dtype
    if node.op == "MatMul" and (node.version < 11 or dtype is None or not dtype.is_float):
        return False
    inputs = [v if f is None else f for v, f in zip(node.inputs, flips, strict=False)]
    old = [v.producer for v, f in zip(node.inputs, flips, strict=False) if f is not None and v is not None]
    attributes = dict(node.attributes)
    for name, flip in zip(("transA", "transB"), flips, strict=True):
        attributes[name] = int(attr(node, name, 0) if node.op == "Gemm" else 0) ^ int(flip is not None)
    builder = Builder(graph, node, context)
    made = builder.node("Gemm", [*inputs, *node.inputs[2:]], attributes, version=node.version)
    take_over(graph, node.output, made.output)
    context.rewrote([made], detail=node.label)
    remove_dead([node, *(n for n in old if n is not None)], graph)
    return True


def _transposed_matrix(graph: Graph, value: Value | None) -> Value | None:
    node = None if value is None else value.producer
    if node is None or node.op != "Transpose" or node.domain != "" or perm_of(node) != (1, 0):
        return None
    return node.input(0)
