"""Which values of two models stand for the same thing: by name, else by structure, as a quantised model and the float
model that it was made of have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.records import dataclass

TRANSPARENT = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Identity", "Cast", "Dropout", "Copy"}
)
"""Operators that hand on what they are given, but for its type."""

_SUFFIXES = ("_DequantizeLinear_Output", "_QuantizeLinear_Output", "_dequantized", "_quantized")
# Where operators on bytes have the scale and the zero point of what they make.
_OUTPUT_SCALES = {
    "QuantizeLinear": (1, 2), "QLinearConv": (6, 7), "QLinearMatMul": (6, 7), "QLinearAdd": (6, 7),
    "QLinearMul": (6, 7), "QLinearGlobalAveragePool": (3, 4), "QLinearAveragePool": (3, 4), "QLinearSigmoid": (3, 4),
    "QLinearLeakyRelu": (3, 4), "QLinearSoftmax": (3, 4), "QLinearConcat": (0, 1), "QGemm": (7, 8),
}  # fmt: skip
_NAME, _STRUCTURE, _ORDER = "name", "structure", "order"


@dataclass(frozen=True)
class Pair:
    """A value of A and the one of B that stands for it: by ``name``, by ``structure`` (the same operators on the same
    things), or by ``order`` (the same operator at the same place among what is left). scale, zero: what turns the bytes
    of B's value into numbers, where it has bytes."""

    a: str
    b: str
    how: str
    node: Node
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None

    def as_number(self, value: Any) -> Any:
        """B's value in the unit of A's."""
        if self.scale is None or not isinstance(value, np.ndarray):
            return value
        zero = 0.0 if self.zero is None else self.zero.astype(np.float32)
        return (value.astype(np.float32) - zero) * self.scale.astype(np.float32)


@dataclass(frozen=True)
class Matching:
    """The pairs in the order of A's nodes, and the labels of nodes for which the other model has nothing."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def match(a: Graph, b: Graph) -> Matching:
    """Compares two imported graphs; values of subgraphs stay aside. ``a is b``'s copy: everything by name."""
    made_b = {v.name: v for node in b for v in node.outputs if v.name}
    found: dict[Value, tuple[Value, str]] = {}
    taken: set[Value] = set()

    def pair(left: Value, right: Value, how: str) -> None:
        if left not in found and right not in taken:
            found[left] = (right, how)
            taken.add(right)

    for node in a:
        for value in node.outputs if node.op != "Constant" else ():
            for name in (value.name, *(value.name + suffix for suffix in _SUFFIXES)):
                if value.name and name in made_b:
                    pair(value, made_b[name], _NAME)
                    break
    by_structure = list(_same_structure(a, b, found))
    for left, right in by_structure:
        pair(left, right, _STRUCTURE)
    if len(a.outputs) == len(b.outputs):
        for left, right in zip(a.outputs, b.outputs, strict=True):
            if left.producer is not None and right.producer is not None:
                pair(left, right, _STRUCTURE)
    for left, right in _same_order(a, b, found, taken):
        pair(left, right, _ORDER)
    pairs = [_pair(left, *found[left]) for node in a for left in node.outputs if left in found]
    matched_a = {v.producer for v in found}
    matched_b = {p for v in taken for p in (v.producer, _root(v).producer)}
    return Matching(
        tuple(pairs),
        tuple(n.label for n in a if n not in matched_a and _computes(n)),
        tuple(n.label for n in b if n not in matched_b and _computes(n)),
    )


def _computes(node: Node) -> bool:
    return node.op not in TRANSPARENT and node.op != "Constant"


def _pair(left: Value, right: Value, how: str) -> Pair:
    """The pair, with B's value read where it has become numbers again, if it has bytes where A has not."""
    assert left.producer is not None
    right = _as_used(right)
    node = right.producer
    places = None if node is None else _OUTPUT_SCALES.get(node.op)
    if node is not None and places is not None:
        scale, zero = node.input(places[0]), node.input(places[1])
        if scale is not None and scale.data is not None and scale.data.size == 1:
            offset = None if zero is None else zero.data
            return Pair(left.name, right.name, how, left.producer, scale.data, offset)
    return Pair(left.name, right.name, how, left.producer)


def _as_used(value: Value) -> Value:
    """What a value has become where it is used, if all that its only user does is to quantise or dequantise it."""
    while len(value.consumers) == 1 and value.consumers[0].op in ("QuantizeLinear", "DequantizeLinear"):
        user = value.consumers[0]
        if user.inputs[0] is not value or (user.op == "QuantizeLinear" and not _is_dequantised(user.outputs[0])):
            break
        value = user.outputs[0]
    return value


def _is_dequantised(value: Value) -> bool:
    return any(user.op == "DequantizeLinear" and user.inputs[0] is value for user in value.consumers)


def family(op: str) -> str:
    """The operator that one on bytes, or a fused one, stands for: ``Conv`` for ``QLinearConv`` and ``ConvInteger``."""
    name = op.removeprefix("QLinear").removesuffix("Integer").removesuffix("ToFloat").removesuffix("Integer")
    name = name.removeprefix("Fused").removeprefix("Qlinear")
    return {"QGemm": "Gemm", "DynamicQuantizeMatMul": "MatMul", "MatMulNBits": "MatMul"}.get(name, name)


def _root(value: Value) -> Value:
    """What a value was before operators that only hand it on."""
    while value.producer is not None and value.producer.op in TRANSPARENT and value.producer.inputs[0] is not None:
        value = value.producer.inputs[0]
    return value


def _same_structure(a: Graph, b: Graph, named: dict[Value, tuple[Value, str]]) -> Iterator[tuple[Value, Value]]:
    """Pairs of values that the same operators make of the same inputs; equal ones in their order."""
    marks: dict[Any, int] = {}
    known: dict[Value, int] = {}

    def mark(*what: Any) -> int:
        return marks.setdefault(what, len(marks))

    for graph in (a, b):
        known.update({v: mark("input", i) for i, v in enumerate(graph.inputs)})
    for left, (right, _) in named.items():
        known[left] = known[_root(right)] = known[right] = mark("named", left.name)
    makers: list[dict[int, Value]] = []
    for graph in (a, b):
        seen: dict[int, int] = {}
        own: dict[int, Value] = {}
        for node in graph:
            if not _computes(node):
                continue
            roots = [_root(v) for v in node.inputs if v is not None]
            inputs = tuple(known.get(r, -1) for r in roots if not r.is_const and not _from_constants(r))
            base = mark(family(node.op), inputs)
            count = seen[base] = seen.get(base, -1) + 1
            for i, value in enumerate(node.outputs):
                if value not in known and -1 not in inputs and inputs:
                    known[value] = mark(base, count, i)
                    own.setdefault(known[value], value)
        makers.append(own)
    for key, left in makers[0].items():
        if key in makers[1]:
            yield left, makers[1][key]


def _from_constants(value: Value) -> bool:
    node = value.producer
    return node is not None and all(v is None or v.is_const or _from_constants(v) for v in node.inputs)


def _same_order(
    a: Graph, b: Graph, found: dict[Value, tuple[Value, str]], taken: set[Value]
) -> Iterator[tuple[Value, Value]]:
    """Pairs among what is left: equal runs of operators."""
    left = [n for n in a if _computes(n) and n.outputs and n.outputs[0] not in found]
    right = [n for n in b if _computes(n) and n.outputs and n.outputs[0] not in taken]
    words: Sequence[Sequence[str]] = [[family(n.op) for n in nodes] for nodes in (left, right)]
    for block in SequenceMatcher(None, words[0], words[1], autojunk=False).get_matching_blocks():
        for i in range(block.size):
            yield left[block.a + i].outputs[0], right[block.b + i].outputs[0]
