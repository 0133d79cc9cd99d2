"""Computes at compile time what depends on constants alone, and chooses branches whose condition is constant."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from ronn.identity import made_of
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import attr, is_pure, is_used, may_hold_graphs, replace_value, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.splice import replace_node, splice

MAX_GROWTH = 1 << 20  # bytes that a result may be larger than the constants that it replaces
# A weight that every run would compute anew takes its memory in the run's arena anyway.
MAX_WEIGHT = 1 << 28
MAX_STRINGS = 4096
_LARGE_FILL = 1 << 16  # bytes from which an array of one repeated element is kept as that
_FEW = 16  # elements of a list among the attributes of a node that is known by what it computes
_UNKNOWN_SIZE_INPUT = 1 << 16  # bytes of inputs up to which a node of unknown result size is tried

# Providers want to see these with their quantised operands.
_KEPT = frozenset(
    {"Identity", "Constant", "DequantizeLinear", "If", "Loop", "Scan", "SequenceMap", "OptionalHasElement", "Optional"}
)


@define_pass("fold-constants", requires_types=True, local=True)
def fold_constants(graph: Graph, context: PassContext) -> bool:
    """Replaces nodes whose inputs are all constant by their results, within a size budget."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "If" and node.domain == "":
            changed |= _choose_branch(owner, node, context)
        elif _foldable(node):
            changed |= _fold(owner, node, context)
    return changed


def _foldable(node: Node) -> bool:
    return (
        node.op not in _KEPT
        and all(v is None or v.data is not None for v in node.inputs)
        and not (may_hold_graphs(node) and any(True for _ in node.subgraphs()))
        and is_pure(node)
    )


def _fold(graph: Graph, node: Node, context: PassContext) -> bool:
    if context.evaluate is None:
        return False
    given = sum(_nbytes(v.data) for v in node.inputs if v is not None and v.data is not None)
    budget = int(context.options.get("fold_limit", MAX_GROWTH)) + given
    if node.op == "Cast" and _widens_float(node):
        budget *= 4
    elif _is_weight(node.output):
        budget = max(budget, MAX_WEIGHT)
    known = [_type_bytes(v) for v in node.outputs if v.name]
    if any(k is None for k in known):
        if given > _UNKNOWN_SIZE_INPUT or node.op in ("ConstantOfShape", "Range", "Expand", "Tile"):
            return False
    elif sum(k for k in known if k is not None) > budget:
        context.refuse(node, "its result would be too large a constant")
        return False
    try:
        large = len(known) == 1 and known[0] is not None and known[0] >= _LARGE_FILL
        if large and node.op == "ConstantOfShape" and node.domain == "":
            results: Any = [_filled(node)]
        else:
            results = context.evaluate(node, [None if v is None else v.data for v in node.inputs])
    except Exception as e:  # a node in a branch never taken may well be wrong; it fails when it is run
        context.refuse(node, f"cannot be computed ahead: {type(e).__name__}: {e}")
        return False
    arrays = _checked(node, results, budget)
    if arrays is None:
        context.refuse(node, "its result is no tensor of the inferred type, or too large")
        return False
    made = []
    recipe = _recipe(node)
    for i, (out, array) in enumerate(zip(node.outputs, arrays, strict=True)):
        if array is not None and is_used(out, graph):
            value = graph.constant(array, context.fresh(graph, out.name))
            if recipe is not None and array.nbytes >= _LARGE_FILL:
                made_of(value, [v for v in node.inputs if v is not None], *recipe, i)
            made.append(replace_value(graph, out, value, context))
    graph.remove(node)
    context.rewrote([n for n in made if n is not None], detail=f"folded {node.label}")
    return True


def _recipe(node: Node) -> tuple[Hashable, ...] | None:
    """What a node computes, inputs apart; None where its attributes are more than a few numbers and words."""
    attributes: list[tuple[str, Hashable]] = []
    for name, value in sorted(node.attributes.items()):
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype != object:
            attributes.append((name, (value.dtype, value.shape, value.tobytes())))
        elif isinstance(value, (int, float, str, bytes)):
            attributes.append((name, value))
        elif isinstance(value, list) and len(value) <= _FEW and all(isinstance(v, (int, float, str)) for v in value):
            attributes.append((name, tuple(value)))
        else:
            return None
    given = tuple(v is not None for v in node.inputs)
    return (node.domain, node.op, node.version, given, tuple(attributes))


def _filled(node: Node) -> np.ndarray:
    """What ConstantOfShape makes, as a view of its one element: it may be many bytes, and be packed only."""
    value, shape = attr(node, "value", None), node.inputs[0]
    assert shape is not None and shape.data is not None
    fill = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(1)
    return np.broadcast_to(fill, tuple(shape.data.tolist()))


def _checked(node: Node, results: Any, budget: int) -> list[np.ndarray | None] | None:
    """The results as arrays of the inferred dtypes; None when they are something else."""
    if len(results) < len(node.outputs):
        return None
    arrays: list[np.ndarray | None] = []
    for out, result in zip(node.outputs, results, strict=False):
        if not out.name:
            arrays.append(None)
            continue
        if not isinstance(result, (np.ndarray, np.generic)):
            return None
        array = np.asarray(result)
        try:
            dtype = DType.of(array.dtype)
        except TypeError:
            return None
        if dtype is DType.STRING:
            if array.size > MAX_STRINGS:
                return None
            array = array.astype(object)
        if out.dtype is not None and out.dtype is not dtype:
            return None
        arrays.append(array)
    return arrays if sum(a.nbytes for a in arrays if a is not None) <= budget else None


def _choose_branch(graph: Graph, node: Node, context: PassContext) -> bool:
    condition = node.input(0)
    if condition is None or condition.data is None or condition.data.size != 1:
        return False
    branch = node.attributes.get("then_branch" if bool(condition.data.reshape(-1)[0]) else "else_branch")
    if not isinstance(branch, Graph):
        return False
    nodes, outputs = splice(graph, node, branch, (), context)
    context.rewrote(replace_node(graph, node, nodes, outputs, context), detail=f"branch of {node.label}")
    return True


def _widens_float(node: Node) -> bool:
    source = node.input(0)
    if source is None or source.dtype is None:
        return False
    to = DType.from_code(int(attr(node, "to", 1)))
    return source.dtype.is_float and source.dtype.bits >= 16 and to.is_float


def _is_weight(value: Value, depth: int = 4) -> bool:
    """Whether only products and convolutions use ``value``, as second operand, maybe cast and scaled on the way."""
    if not value.uses or depth == 0 or len(value.uses) > 16:
        return False
    for user, index in value.uses:
        if user.graph is None or user.domain != "" or user.graph.is_output(value):
            return False
        if user.op in _WEIGHTED:
            if index != 1:
                return False
            continue
        others = [v for v in user.inputs if v is not value]
        if user.op not in _SCALING or any(v is None or v.data is None for v in others):
            return False
        if not _is_weight(user.output, depth - 1):
            return False
    return True


_WEIGHTED = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_SCALING = frozenset({"Cast", "Mul", "Sub", "Div", "Add", "Transpose", "Reshape"})


def _nbytes(data: np.ndarray) -> int:
    return int(data.nbytes)


def _type_bytes(value: Value) -> int | None:
    """Bytes of a value of static type; None when the type is not that known."""
    t = value.tensor
    if t.dtype is None or not t.is_static:
        return None
    return t.size * max(t.dtype.bits, 8) // 8 if t.dtype is not DType.STRING else t.size * 64
