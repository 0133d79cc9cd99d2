"""A float graph read as steps between quantised values: what each node becomes, or why it stays."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np

from ronn.errors import OptionError, nearest
from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import attr, const, ints
from ronn.records import dataclass, field, replace
from ronn_provider_npu.quantize.pointwise import bounds, is_float32, variable_inputs

Array = np.ndarray
Kind = Literal["conv", "gemm", "matmul", "add", "mul", "concat", "average", "global", "softmax", "table", "move"]
MOVES = frozenset(
    [
        "Reshape",
        "Flatten",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Gather",
        "Expand",
        "Tile",
        "Identity",
        "DepthToSpace",
        "SpaceToDepth",
        "Split",
        "Pad",
        "MaxPool",
        "Resize",
        "Dropout",
    ]
)
"""Operators whose outputs hold numbers of their first input, and perhaps 0."""
BYTES_TOO = frozenset(("Shape", "Size", "ArgMax", "ArgMin"))
"""Operators that give the same for bytes as for what these stand for."""
_BOUNDED = frozenset(("conv", "gemm", "matmul", "add", "mul", "average", "global"))
_LAYERS = frozenset(("conv", "gemm", "matmul"))


@dataclass(frozen=True)
class Step:
    """What becomes one operator on bytes.

    inputs: the quantised values it takes, constants of ``add`` and ``mul`` among them; outputs: what it makes.
    nodes: that it stands for, in order. bounds: of a Relu or Clip behind the operator, which is among them.
    weights f32[out, ...] and bias f32[out]: of ``conv`` and ``gemm``.
    """

    kind: Kind
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    bounds: tuple[float, float] | None = None
    weights: Array | None = field(default=None, compare=False)
    bias: Array | None = field(default=None, compare=False)

    @property
    def node(self) -> Node:
        """The node that gives the step its name and attributes."""
        return self.nodes[0]

    @property
    def name(self) -> str:
        return self.node.name if self.node.name else self.node.output.name


@dataclass(frozen=True, slots=True)
class Kept:
    """A node that computes with floats still, and why."""

    name: str
    op: str
    reason: str


@dataclass(frozen=True)
class Analysis:
    """steps: by the last of their nodes, in the graph's order. kept: nodes with float inputs or outputs that stay."""

    graph: Graph
    steps: dict[Node, Step]
    kept: tuple[Kept, ...]

    @property
    def values(self) -> dict[str, Value]:
        """Every value that is quantised, constants not counted, by name."""
        found: dict[str, Value] = {}
        for step in self.steps.values():
            for value in (*step.inputs, *step.outputs):
                if const(value) is None:
                    found[value.name] = value
        return found


def analyse(graph: Graph, skip: Collection[str] = ()) -> Analysis:
    """Reads a graph whose types are inferred. skip: names of nodes, or of their outputs, that stay float.

    Raises OptionError for a name in ``skip`` that no node has.
    """
    _check_names(graph, skip)
    return _Reader(graph, frozenset(skip)).read()


def _check_names(graph: Graph, skip: Collection[str]) -> None:
    names = {n.name for n in graph if n.name} | {v.name for n in graph for v in n.outputs}
    for name in skip:
        if name not in names:
            near = nearest(name, sorted(names))
            raise OptionError(f"skip {name!r}: no node has this name", hint=f"did you mean {near!r}?" if near else None)


class _Reader:
    def __init__(self, graph: Graph, skip: frozenset[str]) -> None:
        self.graph, self.skip = graph, skip
        self.made: dict[Value, Step] = {}  # by what they make
        self.roots: dict[Value, Value] = {}  # of functions of one number
        self.reasons: dict[Node, str] = {}

    def read(self) -> Analysis:
        for node in self.graph:
            if node.name in self.skip or any(v.name in self.skip for v in node.outputs):
                self.reasons[node] = "left out by name"
                continue
            found = self.step(node)
            if isinstance(found, str):
                if found:
                    self.reasons[node] = found
                continue
            for value in found.outputs:
                self.made[value] = found
        return self.wanted()

    def wanted(self) -> Analysis:
        """The steps that something hangs on, and the nodes that stay."""
        needed = set(self.graph.outputs)
        steps: dict[Node, Step] = {}
        kept: list[Kept] = []
        for node in reversed(self.graph):
            if not any(v in needed for v in node.outputs):
                continue
            step = next((self.made[v] for v in node.outputs if v in needed and v in self.made), None)
            if step is not None:
                if step.nodes[-1] not in steps:
                    steps[step.nodes[-1]] = step
                needed.update(step.inputs)
                needed.update(v for v in step.node.inputs[1:] if v is not None and step.kind == "move")
                continue
            needed.update(v for v in node.inputs if v is not None)
            needed.update(v for g in node.subgraphs() for v in g.captures())
            if node in self.reasons:
                kept.append(Kept(node.label, node.op_id, self.reasons[node]))
        return Analysis(self.graph, dict(reversed(steps.items())), tuple(reversed(kept)))

    def step(self, node: Node) -> Step | str:
        """What a node becomes; why it stays, empty where nobody would expect it to be quantised."""
        floats = [v for v in (*node.inputs, *node.outputs) if v is not None and _is_float(v)]
        if not floats:
            return ""
        narrow = next((v for v in floats if not is_float32(v)), None)
        if narrow is not None:
            return f"%{narrow.name} is {narrow.dtype}: only float32 is quantised"
        if all(const(v) is not None for v in node.inputs if v is not None):
            return "its inputs are constants"
        if node.op in BYTES_TOO and node.domain == "":
            return ""
        if node.domain != "":
            return f"{node.op_id} has no int8 form"
        bounded = self.bounded(node)
        if bounded is not None:
            return bounded
        found: Step | str | None = self.pointwise(node)
        if found is None:
            found = _STEPS[node.op](self, node) if node.op in _STEPS else None
        if found is None and node.op in MOVES:
            found = _move(node)
        return f"{node.op} has no int8 form" if found is None else found

    def bounded(self, node: Node) -> Step | None:
        """A Relu or Clip taken into the step before it, whose last value nobody else sees."""
        limits = bounds(node)
        x = node.input(0)
        if limits is None or x is None or x not in self.made or len(x.uses) != 1 or self.graph.is_output(x):
            return None
        before = self.made[x]
        if before.kind not in _BOUNDED:
            return None
        low, high = (-np.inf, np.inf) if before.bounds is None else before.bounds
        joined = min(max(low, limits[0]), limits[1]), min(max(high, limits[0]), limits[1])
        del self.made[x]
        return replace(before, nodes=(*before.nodes, node), outputs=(node.output,), bounds=joined)

    def pointwise(self, node: Node) -> Step | None:
        varying = variable_inputs(node)
        if varying is None:
            return None
        roots = {self.roots.get(v, v) for v in varying}
        if len(roots) != 1:
            return None
        (root,) = roots
        if any(v is not root and v not in self.made for v in varying):
            return None
        before: dict[Node, None] = {}
        for value in varying:
            if value is not root:
                before.update(dict.fromkeys(self.made[value].nodes))
        self.roots[node.output] = root
        return Step("table", (*before, node), (root,), (node.output,))


def _is_float(value: Value) -> bool:
    return (value.dtype is not None and value.dtype.numpy.kind == "f") or str(value.dtype) in ("bf16", "bfloat16")


def _conv(reader: _Reader, node: Node) -> Step | str:
    w, bias = const(node.input(1)), const(node.input(2))
    if w is None or (node.input(2) is not None and bias is None):
        return "its weights or bias are no constants"
    if not np.isfinite(w).all():
        return "weights that are NaN or infinite"
    x = node.inputs[0]
    assert x is not None
    return Step("conv", (node,), (x,), (node.output,), weights=w, bias=bias)


def _gemm(reader: _Reader, node: Node) -> Step | str:
    w, x = const(node.input(1)), node.inputs[0]
    assert x is not None
    if node.op == "MatMul" and (w is None or w.ndim != 2):
        return _matmul(node)
    if w is None:
        return "its second matrix is no constant"
    if not np.isfinite(w).all():
        return "weights that are NaN or infinite"
    bias: Array | None = None
    if node.op == "Gemm":
        if attr(node, "transA", 0):
            return "its input is transposed (transA)"
        w = w if attr(node, "transB", 0) else w.T
        w = w * np.float32(attr(node, "alpha", 1.0))
        if node.input(2) is not None:
            given = const(node.input(2))
            if given is None or given.reshape(-1).shape not in ((1,), (len(w),)):
                return "its bias is not constant, or not one number a column"
            bias = np.broadcast_to(given.reshape(-1) * np.float32(attr(node, "beta", 1.0)), len(w))
    else:
        w = w.T
    return Step("gemm", (node,), (x,), (node.output,), weights=np.ascontiguousarray(w), bias=bias)


def _matmul(node: Node) -> Step | str:
    a, b = node.inputs
    assert a is not None and b is not None
    if const(a) is not None or const(b) is not None:
        return "its constant is no matrix on the right"
    return Step("matmul", (node,), (a, b), (node.output,))


def _sum(reader: _Reader, node: Node) -> Step | str:
    """An Add, Sub or Mul; the bias of a product before it goes into that."""
    a, b = node.inputs
    assert a is not None and b is not None
    if node.op == "Add":
        for x, other in ((a, b), (b, a)):
            data, before = const(other), reader.made.get(x)
            if data is None or before is None or before.kind != "gemm" or before.bounds is not None:
                continue
            lone = len(x.uses) == 1 and not reader.graph.is_output(x) and before.bias is None and x.tensor.rank == 2
            if lone and before.weights is not None and data.shape in ((len(before.weights),), (1, len(before.weights))):
                del reader.made[x]
                return replace(before, nodes=(*before.nodes, node), outputs=(node.output,), bias=data.reshape(-1))
    if node.op == "Sub" and const(b) is None:
        return "a difference of two values has no int8 form"
    if const(a) is not None and node.op == "Sub":
        return "a difference from constants has no int8 form"
    return Step("mul" if node.op == "Mul" else "add", (node,), (a, b), (node.output,))


def _concat(reader: _Reader, node: Node) -> Step | str:
    return Step("concat", (node,), tuple(v for v in node.inputs if v is not None), (node.output,))


def _average(reader: _Reader, node: Node) -> Step | str:
    x = node.inputs[0]
    assert x is not None
    if any(d != 1 for d in attr(node, "dilations", [])):
        return "a pool with dilations has no int8 form"
    return Step("average", (node,), (x,), (node.output,))


def _global(reader: _Reader, node: Node) -> Step | str:
    x = node.inputs[0]
    assert x is not None
    if node.op == "ReduceMean":
        rank = x.tensor.rank
        axes = mean_axes(node)
        if rank is None or rank < 3 or axes not in (tuple(range(2, rank)), tuple(range(1, rank - 1))):
            return "a mean over other axes than all of a picture has no int8 form"
    return Step("global", (node,), (x,), (node.output,))


def mean_axes(node: Node) -> tuple[int, ...]:
    """The axes of a ReduceMean, sorted, from 0 on; empty where they are unknown or all."""
    x = node.inputs[0]
    given = attr(node, "axes") if node.version < 18 else ints(node.input(1))
    rank = None if x is None else x.tensor.rank
    return () if not given or rank is None else tuple(sorted(a % rank for a in given))


def _softmax(reader: _Reader, node: Node) -> Step | str:
    x = node.inputs[0]
    assert x is not None
    return Step("softmax", (node,), (x,), (node.output,))


def _move(node: Node) -> Step | str:
    x = node.inputs[0]
    assert x is not None
    if const(x) is not None:
        return f"{node.op} of a constant"
    if node.op == "MaxPool" and (len(node.outputs) > 1 or node.version < 12):
        return "MaxPool has no int8 form before opset 12, and none with indices"
    if node.op == "Pad":
        value = node.input(2) if node.version >= 11 else None
        if value is not None and (const(value) is None or np.any(const(value))):
            return "Pad with another number than 0 has no int8 form"
    if node.op == "Resize" and attr(node, "mode", "nearest") != "nearest":
        return "a Resize that interpolates has no int8 form"
    if node.op == "Dropout" and len(node.outputs) > 1:
        return "Dropout with a mask has no int8 form"
    return Step("move", (node,), (x,), node.outputs)


_STEPS = {
    "Conv": _conv, "Gemm": _gemm, "MatMul": _gemm, "Add": _sum, "Sub": _sum, "Mul": _sum, "Concat": _concat,
    "AveragePool": _average, "GlobalAveragePool": _global, "ReduceMean": _global, "Softmax": _softmax,
}  # fmt: skip


def is_layer(step: Step) -> bool:
    """Whether a step is a product with weights or of two values."""
    return step.kind in _LAYERS
