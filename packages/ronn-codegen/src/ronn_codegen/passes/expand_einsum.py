"""Einsum that is no plain product of two operands, as sums, transposes and matrix products."""

from __future__ import annotations

import math

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

_FREE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
Terms = tuple[list[str], str]


@define_pass("expand-einsum", requires_types=True, keeps_types=True)
def expand_einsum(graph: Graph, context: PassContext) -> bool:
    """Takes an Einsum apart, pair by pair, that native kernels do not take as it is."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op == "Einsum" and node.domain == "" and context.owns(node):
            changed |= _expand(owner, node, context)
    return changed


def _expand(graph: Graph, node: Node, context: PassContext) -> bool:
    values = [v for v in node.inputs if v is not None]
    if any(
        v.dtype not in (DType.FLOAT32, DType.FLOAT64) or not v.tensor.is_static or not v.tensor.size for v in values
    ):
        return False
    equation = str(node.attributes["equation"])
    read = terms(equation, [len(v.tensor.static_shape) for v in values])
    if read is None:
        return False
    given, result = read
    if any(len(set(t)) != len(t) for t in (*given, result)):
        return False
    if len(given) == 2 and "->" in equation and "." not in equation and _is_plain(given[0], given[1], result):
        return False
    sizes = {i: n for t, v in zip(given, values, strict=True) for i, n in zip(t, v.tensor.static_shape, strict=True)}
    if any(
        sizes[i] != n for t, v in zip(given, values, strict=True) for i, n in zip(t, v.tensor.static_shape, strict=True)
    ):
        return False  # sizes of 1 that broadcast
    b = _Einsum(graph, node, context, sizes)
    pairs = list(zip(given, values, strict=True))
    while len(pairs) > 1:
        (one, x), (two, y), *rest = pairs
        kept = set(result).union(*(t for t, _ in rest))
        pairs = [b.product(b.summed(one, x, kept | set(two)), b.summed(two, y, kept | set(one)), kept), *rest]
    term, value = b.summed(*pairs[0], set(result))
    take_over(graph, node.outputs[0], b.ordered(term, value, result))
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


def terms(equation: str, ranks: list[int]) -> Terms | None:
    """The indices of each operand and of the result, with letters in place of dots; None for a malformed equation."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    given = left.split(",")
    free = [i for i in _FREE if i not in equation]
    hidden = max((r - len(t.replace("...", "")) for t, r in zip(given, ranks, strict=False) if "..." in t), default=0)
    if len(given) != len(ranks) or hidden < 0 or hidden > len(free):
        return None
    dots = "".join(free[:hidden])
    found = []
    for t, rank in zip(given, ranks, strict=True):
        count = rank - len(t.replace("...", ""))
        found.append(t.replace("...", dots[hidden - count :]) if count else t.replace("...", ""))
    if not arrow:
        once = sorted(i for i in set(left) - {",", "."} if left.count(i) == 1)
        result = ("..." if "..." in left else "") + "".join(once)
    result = result.replace("...", dots)
    good = all(len(t) == r for t, r in zip(found, ranks, strict=True)) and set(result) <= set("".join(found))
    return (found, result) if good else None


def _is_plain(one: str, two: str, result: str) -> bool:
    """Whether ``lower.einsum`` takes it as it is."""
    return _plain(one, two, result) or _plain(two, one, result)


def _plain(one: str, two: str, result: str) -> bool:
    batch, rows, columns, steps = _parts(one, two, set(result))
    orders = ({batch + rows + steps, batch + steps + rows}, {batch + steps + columns, batch + columns + steps})
    return result == batch + rows + columns and one in orders[0] and two in orders[1]


def _parts(one: str, two: str, kept: set[str]) -> tuple[str, str, str, str]:
    batch = "".join(i for i in one if i in two and i in kept)
    rows = "".join(i for i in one if i not in two)
    columns = "".join(i for i in two if i not in one)
    return batch, rows, columns, "".join(i for i in one if i in two and i not in kept)


class _Einsum(Builder):
    def __init__(self, graph: Graph, node: Node, context: PassContext, sizes: dict[str, int]) -> None:
        super().__init__(graph, node, context)
        self.sizes = sizes

    def summed(self, term: str, x: Value, kept: set[str]) -> tuple[str, Value]:
        """Without the indices that nobody else has."""
        axes = [k for k, i in enumerate(term) if i not in kept]
        if not axes:
            return term, x
        x = self.op("ReduceSum", x, self.constant(np.array(axes, np.int64)), version=13, keepdims=0)
        return "".join(i for i in term if i in kept), x

    def ordered(self, term: str, x: Value, order: str) -> Value:
        return x if term == order else self.op("Transpose", x, perm=[term.index(i) for i in order])

    def shaped(self, x: Value, *groups: str, batch: str) -> Value:
        shape = [self.sizes[i] for i in batch] + [math.prod(self.sizes[i] for i in group) for group in groups]
        return (
            x
            if list(x.tensor.static_shape) == shape
            else self.op("Reshape", x, self.constant(np.array(shape, np.int64)))
        )

    def product(self, a: tuple[str, Value], b: tuple[str, Value], kept: set[str]) -> tuple[str, Value]:
        """The product of two operands, summed over what only they have."""
        (one, x), (two, y) = a, b
        batch, rows, columns, steps = _parts(one, two, kept)
        left = self.shaped(self.ordered(one, x, batch + rows + steps), rows, steps, batch=batch)
        right = self.shaped(self.ordered(two, y, batch + steps + columns), steps, columns, batch=batch)
        made = self.op("Mul" if not steps and not rows and not columns else "MatMul", left, right)
        term = batch + rows + columns
        shape = np.array([self.sizes[i] for i in term], np.int64)
        return term, self.op("Reshape", made, self.constant(shape))
