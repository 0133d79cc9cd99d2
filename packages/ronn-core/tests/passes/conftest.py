"""Fixtures of the pass tests: run passes over text with the verifier on, and compare numbers before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ronn.ir.graph import Graph, Node, Value, clone
from ronn.ir.text import parse
from ronn.ir.types import TensorType
from ronn.ops.infer import infer_types
from ronn.passes.manager import Group, Pass, PassContext, PassManager
from ronn.providers.reference import node_function


def compute(node: Node, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of one node."""
    result = node_function(node)(*arrays)
    return [result] if len(node.outputs) == 1 else list(result)


def run_graph(graph: Graph, feeds: Mapping[str, Any], outer: dict[Value, Any] | None = None) -> list[Any]:
    """Runs a graph on the reference, node by node; If and Loop run their subgraphs."""
    env: dict[Value, Any] = {} if outer is None else dict(outer)
    for value in graph.inputs:
        if value.name in feeds:
            env[value] = feeds[value.name]
    for value in graph.initializers.values():
        env[value] = value.data
    for node in graph:
        inputs = [None if v is None else v.data if v.data is not None else env[v] for v in node.inputs]
        if node.op == "If":
            branch = node.attributes["then_branch" if bool(inputs[0]) else "else_branch"]
            results = run_graph(branch, {}, env)
        elif node.op == "Loop":
            results = run_loop(node, inputs, env)
        elif node.domain == "ronn":
            results = run_fused(node, inputs)
        else:
            results = compute(node, inputs)
        env.update(zip(node.outputs, results, strict=False))
    return [v.data if v.data is not None else env[v] for v in graph.outputs]


def run_loop(node: Node, inputs: Sequence[Any], env: dict[Value, Any]) -> list[Any]:
    body, state, scans = node.attributes["body"], list(inputs[2:]), []
    keep = True if inputs[1] is None else bool(inputs[1])
    for i in range(int(inputs[0])):
        if not keep:
            break
        names = [v.name for v in body.inputs]
        feeds = dict(zip(names, [np.array(i, np.int64), np.array(keep), *state], strict=True))
        out = run_graph(body, feeds, env)
        keep, state = bool(out[0]), out[1 : 1 + len(state)]
        scans.append(out[1 + len(state) :])
    return [*state, *(np.stack(s) for s in zip(*scans, strict=True))]


def run_fused(node: Node, inputs: Sequence[Any]) -> list[Any]:
    """A fused node is what it decomposes into."""
    from ronn.ops.fused import decompose
    from ronn.passes.edit import Builder

    graph = Graph("fused")
    values = [None if v is None else graph.add_input(f"i{i}", v.type) for i, v in enumerate(node.inputs)]
    copy = Node(node.op, values, [Value("y", node.output.type)], node.attributes, domain=node.domain, version=1)
    graph.append(copy)
    builder = Builder(graph, copy, PassContext(opset_imports={"": 20}))
    result = decompose(builder, copy)
    assert result is not None
    graph.add_output(result)
    graph.remove(copy)
    return run_graph(graph, {f"i{i}": a for i, a in enumerate(inputs) if a is not None})


def make_feeds(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, Any]:
    """Random inputs; symbols get ``sizes`` (3 where it has none)."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, Any] = {}
    for value in graph.inputs:
        t = value.type
        assert isinstance(t, TensorType) and t.dtype is not None and t.shape is not None
        shape = [d if isinstance(d, int) else sizes.get(str(d), 3) for d in t.shape]
        if t.dtype.is_float:
            feeds[value.name] = np.asarray(rng.standard_normal(shape)).astype(t.dtype.numpy)
        elif t.dtype.name == "BOOL":
            feeds[value.name] = np.asarray(rng.integers(0, 2, shape)).astype(bool)
        else:
            feeds[value.name] = np.asarray(rng.integers(0, 5, shape)).astype(t.dtype.numpy)
    return feeds


def same(before: Any, after: Any, rtol: float, atol: float) -> None:
    assert np.asarray(before).dtype == np.asarray(after).dtype
    assert np.shape(before) == np.shape(after)
    if rtol == 0 and atol == 0:
        np.testing.assert_array_equal(before, after)
        if np.asarray(before).dtype.kind == "f":
            # Signs of zeros count, those of NaN do not.
            number = ~np.isnan(np.asarray(before))
            np.testing.assert_array_equal(np.signbit(before)[number], np.signbit(after)[number])
    else:
        wide = np.complex128 if np.asarray(before).dtype.kind == "c" else np.float64
        np.testing.assert_allclose(np.asarray(after, wide), np.asarray(before, wide), rtol=rtol, atol=atol)


class Applied:
    """What came out: ``graph``, ``ops`` (in order, subgraphs left out), ``context``, ``changed``."""

    def __init__(self, graph: Graph, context: PassContext, changed: bool) -> None:
        self.graph = graph
        self.context = context
        self.changed = changed

    @property
    def ops(self) -> list[str]:
        return [n.op_id for n in self.graph]

    @property
    def text(self) -> str:
        return str(self.graph)

    @property
    def reasons(self) -> list[str]:
        return [r.reason for r in self.context.refusals]


Apply = Callable[..., Applied]


@pytest.fixture
def apply() -> Apply:
    """``apply(passes, text, ...)``: passes run under the verifier, numbers compared, a second run changes nothing."""

    def run(
        passes: Pass | Sequence[Pass | Group],
        source: str | Graph,
        *,
        takes: str | Callable[[Node], bool] = "",
        sizes: Mapping[str, int] | None = None,
        feeds: Mapping[str, Any] | None = None,
        rtol: float = 0.0,
        atol: float = 0.0,
        compare: bool = True,
        settles: bool = True,
        **context: Any,
    ) -> Applied:
        graph = parse(source) if isinstance(source, str) else source
        items = [passes] if not isinstance(passes, (list, tuple)) else list(passes)
        before = clone(graph)
        infer_types(before)
        claimed = (lambda node: node.op in takes.split()) if isinstance(takes, str) else takes
        opsets = {n.domain: n.version for n in graph.all_nodes()}
        ctx = PassContext(**{"evaluate": compute, "claimed": claimed, "opset_imports": opsets, **context})
        report = PassManager(items, verify=True).run(graph, ctx)
        again = PassManager(items, verify=True).run(graph, ctx)
        assert not settles or not again.changed, f"a second run changes the graph again:\n{graph}"
        if compare:
            given = make_feeds(before, sizes if sizes is not None else {}) if feeds is None else feeds
            infer_types(graph)
            for a, b in zip(run_graph(before, given), run_graph(graph, given), strict=True):
                same(a, b, rtol, atol)
        return Applied(graph, ctx, report.changed)

    return run
