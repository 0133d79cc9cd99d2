"""Functions of one number: chains of elementwise nodes that a table of 256 bytes stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.numerics.interpret import Interpreter, reference_targets
from ronn.passes.edit import attr, const, scalar
from ronn.targets import resolve_targets

Array = np.ndarray
UNARY = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    ]
)
BINARY = frozenset(["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"])


def variable_inputs(node: Node) -> list[Value] | None:
    """The inputs of a node that computes each element of its output from those at the same place and constant numbers;
    None for another node."""
    if node.domain != "" or len(node.outputs) != 1 or not is_float32(node.output):
        return None
    if node.op in UNARY:
        if any(v is not None and scalar(v) is None for v in node.inputs[1:]):
            return None
        return [v for v in node.inputs[:1] if v is not None and is_float32(v)]
    if node.op == "PRelu" and scalar(node.input(1)) is not None:
        return [v for v in node.inputs[:1] if v is not None]
    if node.op in BINARY and node.version >= 7:
        varying = [v for v in node.inputs if v is not None and scalar(v) is None]
        if all(is_float32(v) for v in varying) and all(_keeps_rank(node, v) for v in varying):
            return None if any(const(v) is not None for v in varying) else varying
    return None


def is_float32(value: Value) -> bool:
    return value.dtype is not None and value.dtype == DType.of(np.dtype(np.float32))


def _keeps_rank(node: Node, value: Value) -> bool:
    """Whether no constant of a node of one varying input gives it more axes."""
    rank, others = value.tensor.rank, [c for v in node.inputs if v is not value and (c := const(v)) is not None]
    return all(c.ndim == 0 or (rank is not None and c.ndim <= rank) for c in others)


def bounds(node: Node) -> tuple[float, float] | None:
    """What a Relu or Clip by constants bounds to; None for another node."""
    if node.domain != "":
        return None
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    found = [-np.inf, np.inf]
    for place, name in enumerate(("min", "max")):
        given = attr(node, name) if node.version < 11 else None
        if node.version >= 11 and node.input(place + 1) is not None:
            given = scalar(node.input(place + 1))
            if given is None:
                return None
        if given is not None:
            found[place] = float(given)
    return (found[0], found[1]) if found[0] <= found[1] else None


class Function:
    """Nodes, in order, from ``root`` to ``output``: a function of each element by itself."""

    def __init__(self, root: Value, output: Value, nodes: Sequence[Node]) -> None:
        self._graph = Graph("function")
        given = Value(root.name, TensorType(DType.of(np.dtype(np.float32)), (None,)))
        copies: dict[Value, Value] = {root: given}
        self._graph.inputs.append(given)
        for node in nodes:
            inputs = [copies.get(v, v) if v is not None else None for v in node.inputs]
            flat = [self._flat(v) for v in inputs]
            outputs = [Value(v.name, TensorType(v.dtype, (None,))) for v in node.outputs]
            made = Node(node.op, flat, outputs, node.attributes, domain=node.domain, version=node.version)
            self._graph.append(made)
            copies.update(zip(node.outputs, outputs, strict=True))
        self._graph.add_output(copies[output])
        self._interpreter = Interpreter({}, reference_targets(resolve_targets(None)))

    def _flat(self, value: Value | None) -> Value | None:
        """Constants of several axes as numbers."""
        data = const(value)
        return value if data is None else self._graph.constant(data.reshape(()), self._graph.fresh_name("c"))

    def __call__(self, x: Array) -> Array:
        """f32[n] of f32[n]."""
        with np.errstate(all="ignore"):
            (found,) = self._interpreter.run(self._graph, [x]).values()
        return np.asarray(found, np.float32)
