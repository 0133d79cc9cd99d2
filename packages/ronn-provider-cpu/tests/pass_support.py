"""Runs passes over text with the verifier on, and compares what the graph computes before and after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from node_cases import run_node

from ronn.ir.graph import Graph, Value, clone
from ronn.ir.text import parse
from ronn.ir.types import TensorType
from ronn.ops.infer import infer_types
from ronn.passes.manager import Pass, PassContext, PassManager


class Applied:
    """What came out: ``graph``, ``ops`` in order without constants, ``changed``, ``context``."""

    def __init__(self, graph: Graph, context: PassContext, changed: bool) -> None:
        self.graph, self.context, self.changed = graph, context, changed

    @property
    def ops(self) -> list[str]:
        return [n.op for n in self.graph]

    def nodes(self, op: str) -> list[Any]:
        return [n for n in self.graph if n.op == op]


def compute(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Runs a graph without control flow on the NumPy kernels, node by node."""
    values: dict[Value, Any] = {v: feeds[v.name] for v in graph.inputs}
    for node in graph:
        run_node(node, values)
    return [v.data if v.data is not None else values[v] for v in graph.outputs]


def graph_of(inputs: str, body: str, outputs: str, seed: int = 0) -> Graph:
    """A graph of opset 18 from text, in which ``const ?`` stands for random numbers."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}

    def fill(found: re.Match[str]) -> str:
        shape = [int(d) for d in found[1].split(",") if d]
        key = f"{len(constants):016x}"
        constants[key] = (rng.standard_normal(shape) * 0.5).astype(np.float32)
        return f"f32[{found[1]}] = const #{key}"

    lines = re.sub(r"f32\[([\d,]*)\] = const \?", fill, body)
    return parse(f'opset {{"": 18}}\ngraph g({inputs}) {{\n{lines}\nreturn {outputs}\n}}\n', constants)


def random_feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds = {}
    for value in graph.inputs:
        assert isinstance(value.type, TensorType) and value.type.shape is not None
        feeds[value.name] = rng.standard_normal(value.type.static_shape).astype(np.float32)
    return feeds


def apply(passes: Sequence[Pass], graph: Graph, *, rtol: float = 1e-5, atol: float = 1e-5, **context: Any) -> Applied:
    """Runs ``passes`` twice: the second time must change nothing. Numbers must agree before and after."""
    infer_types(graph)
    before = clone(graph)
    made = PassContext(opset_imports={"": 18}, **context)
    report = PassManager(passes, verify=True).run(graph, made)
    if made.limit is None:
        again = PassManager(passes, verify=True).run(graph, made)
        assert not again.changed, f"a second run changes the graph again:\n{graph}"
    types = [str(v.type) for v in graph.outputs]
    infer_types(graph)
    assert types == [str(v.type) for v in graph.outputs] == [str(v.type) for v in before.outputs]
    feeds = random_feeds(before)
    infer_types(before)
    for a, b in zip(compute(before, feeds), compute(graph, feeds), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=atol)
    return Applied(graph, made, report.changed)
