"""Large reductions to one element, in two steps: one loop would run on one thread."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.ops.schema import schema_of
from ronn.passes.edit import Builder, attr, ints, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

LARGE = 1_000_000
"""Elements from which a reduction is worth two steps."""
_FEWEST, _MOST = 16, 64  # parts
_SHORTEST = 256  # elements of a part that are worth a row of their own
# An operator of parts, and the one that makes the whole of their results.
_STEPS = {
    "ReduceSum": ("ReduceSum", "ReduceSum"),
    "ReduceMean": ("ReduceMean", "ReduceMean"),
    "ReduceMax": ("ReduceMax", "ReduceMax"),
    "ReduceMin": ("ReduceMin", "ReduceMin"),
    "ReduceProd": ("ReduceProd", "ReduceProd"),
    "ReduceL1": ("ReduceL1", "ReduceSum"),
    "ReduceL2": ("ReduceSumSquare", "sqrt"),
    "ReduceSumSquare": ("ReduceSumSquare", "ReduceSum"),
    "ReduceLogSum": ("ReduceSum", "ReduceLogSum"),
    "ReduceLogSumExp": ("ReduceLogSumExp", "ReduceLogSumExp"),
}
_INTEGERS = frozenset({"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"})


@define_pass("split-reductions", requires_types=True, keeps_types=True, late=True)
def split_reductions(graph: Graph, context: PassContext) -> bool:
    """Reduces large tensors to one element in two steps, of parts that the sizes alone decide on; results do not
    depend on the number of threads."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op in _STEPS and node.domain == "" and node.version >= 5 and context.owns(node):
            changed |= _split(owner, node, context)
    return changed


def _split(graph: Graph, node: Node, context: PassContext) -> bool:
    x = node.inputs[0]
    if x is None or not x.tensor.is_static or x.tensor.size < LARGE or not _reduces_all(node):
        return False
    if x.dtype not in (DType.FLOAT32, DType.FLOAT64) and not (
        x.dtype in (DType.INT32, DType.INT64) and node.op in _INTEGERS
    ):
        return False
    shape = x.tensor.static_shape
    leading = _leading(shape)
    parts = 0 if leading else max((d for d in range(_FEWEST, _MOST + 1) if x.tensor.size % d == 0), default=0)
    if not leading and not parts:
        return False
    b = Builder(graph, node, context)
    if leading:
        made = _reduced(b, _STEPS[node.op][0], node, x, range(leading, len(shape)))
    else:
        rows = b.op("Reshape", x, b.constant(np.array([parts, x.tensor.size // parts], np.int64)))
        made = _reduced(b, _STEPS[node.op][0], node, rows, [1])
    rest, last = range(made.tensor.rank or 0), _STEPS[node.op][1]
    y = _reduced(b, "ReduceSum" if last == "sqrt" else last, node, made, rest)
    if last == "sqrt":
        y = b.op("Sqrt", y)
    if attr(node, "keepdims", 1):
        y = b.op("Reshape", y, b.constant(np.ones(len(shape), np.int64)))
    take_over(graph, node.outputs[0], y)
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


def _leading(shape: Sequence[int]) -> int:
    """How many dims in front make enough parts that are long enough; 0 where none do."""
    for count in range(1, len(shape)):
        if math.prod(shape[:count]) >= _FEWEST:
            return count if math.prod(shape[count:]) >= _SHORTEST else 0
    return 0


def _takes_axes(op: str, version: int) -> bool:
    """Whether the axes are an input."""
    return version >= (13 if op == "ReduceSum" else 18)


def _reduces_all(node: Node) -> bool:
    x = node.inputs[0]
    assert x is not None
    rank = x.tensor.rank
    if _takes_axes(node.op, node.version) and schema_of(node) is not None:
        given = node.input(1)
        axes = [] if given is None else ints(given)
        if axes is None:
            return False
    else:
        axes = [int(a) for a in attr(node, "axes", ())]
    if not axes:
        return not attr(node, "noop_with_empty_axes", 0)
    return rank is not None and {a % rank for a in axes} == set(range(rank))


def _reduced(b: Builder, op: str, like: Node, x: Value, axes: Sequence[int]) -> Value:
    if _takes_axes(op, like.version):
        return b.op(op, x, b.constant(np.array(list(axes), np.int64)), keepdims=0)
    return b.op(op, x, axes=list(axes), keepdims=0)
