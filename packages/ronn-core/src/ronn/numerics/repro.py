"""The smallest part of a model that still gives other numbers than reference kernels, as a model of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ronn.errors import RonnError
from ronn.ir.graph import Graph, IRModel, Metadata, Node, Value, clone_node
from ronn.ir.types import DType, TensorType
from ronn.numerics.apart import Outcome, Work
from ronn.numerics.candidate import Candidate
from ronn.numerics.difference import Tolerance, each, worst
from ronn.numerics.interpret import Interpreter, reference_targets

_RADII = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_SECONDS = 30.0  # after which the smallest part so far will do
_MOST_NODES = 64  # of a part from which single nodes are left out

Part = tuple[IRModel, dict[str, Any]]


class Reproducer:
    """Cuts parts out of the imported graph around what is guilty, the inputs of each being what reference kernels make,
    and tries whether they still differ: larger ones until one does, then without single nodes."""

    def __init__(self, candidate: Candidate, tolerance: Tolerance, run: Callable[[Work], Outcome]) -> None:
        self.candidate, self.tolerance, self.run = candidate, tolerance, run

    def make(self, names: frozenset[str], labels: Sequence[str], *, check: bool = True) -> Part:
        """A model and its inputs. names: of values that the guilty nodes make; labels: of the nodes themselves.
        check: whether it must differ from reference kernels; without it the nodes alone are taken."""
        graph = self.candidate.imported()
        interpreter = Interpreter(self.candidate.model.functions, reference_targets(self.candidate.targets))
        env = interpreter.run(graph, self.candidate.values, keep=True)
        order = {node: i for i, node in enumerate(graph)}
        self._until = time.monotonic() + _SECONDS
        core = {n for n in order if n.label in labels or any(v.name in names for v in n.outputs)}
        whole = self._part(graph, list(order), env)
        if not core or whole is None:
            return self._whole()
        for region in _growing(core, order):
            if time.monotonic() > self._until:
                break
            part = self._part(graph, sorted(region, key=order.__getitem__), env)
            if part is not None and (not check or self._differs(part)):
                return self._smaller(graph, region, order, env, part) if check else part
        return self._whole()

    def _whole(self) -> Part:
        candidate = self.candidate
        names = [v.name for v in candidate.imported().inputs]
        return candidate.model, dict(zip(names, candidate.values, strict=True))

    def _smaller(
        self, graph: Graph, region: set[Node], order: Mapping[Node, int], env: Mapping[Value, Any], part: Part
    ) -> Part:
        """The part without those of its nodes that can be left out."""
        if len(region) > _MOST_NODES:
            return part
        for node in sorted(region, key=order.__getitem__):
            if len(region) == 1 or time.monotonic() > self._until:
                break
            fewer = self._part(graph, sorted(region - {node}, key=order.__getitem__), env)
            if fewer is not None and self._differs(fewer):
                region, part = region - {node}, fewer
        return part

    def _part(self, graph: Graph, nodes: Sequence[Node], env: Mapping[Value, Any]) -> Part | None:
        """The nodes as a model; None when something crosses its border that is no array."""
        inside = set(nodes)
        made = {v for n in nodes for v in n.outputs if v.name}
        taken = dict.fromkeys(v for n in nodes for v in _needs(n) if v not in made)
        inputs = [v for v in taken if not v.is_const]
        final = set(graph.outputs)
        outputs = [v for n in nodes for v in n.outputs if v.name and (v in final or _used_outside(v, inside, graph))]
        if not outputs or not all(isinstance(env.get(v), np.ndarray) for v in (*inputs, *outputs)):
            return None
        mapping: dict[Value, Value] = {}
        part = Graph("reproducer")
        for v in inputs:
            array = env[v]
            mapping[v] = part.add_input(v.name, TensorType(DType.of(array.dtype), array.shape))
        for v in taken:
            if v.is_const:
                mapping[v] = part.initializers[v.name] = Value(v.name, v.type, data=v.data)
        for node in nodes:
            part.append(clone_node(node, mapping))
        for v in outputs:
            mapping[v].type = TensorType(DType.of(env[v].dtype), None)
            part.add_output(mapping[v])
        model = self.candidate.model
        about = Metadata(ir_version=model.metadata.ir_version, producer_name="ronn", graph_name="reproducer")
        made_model = IRModel(part, dict(model.opset_imports), dict(model.functions), about, "reproducer")
        return made_model, {v.name: env[v] for v in inputs}

    def _differs(self, part: Part) -> bool:
        model, feed = part
        options = replace(self.candidate.options, dimensions={})
        try:
            candidate = Candidate.of(model, self.candidate.targets, options, feed)
            interpreter = Interpreter(model.functions, reference_targets(candidate.targets))
            expected = interpreter.outputs(candidate.imported(), candidate.values)
        except RonnError:
            return False
        outcome = self.run(lambda tell: candidate.outputs())
        if outcome.error is not None:
            return True
        return not worst([d for _, d in each(expected, outcome.result, self.tolerance)]).equal


def _growing(core: set[Node], order: Mapping[Node, int]) -> Iterator[set[Node]]:
    """The nodes, then also those that are so many steps away from them."""
    region, edge, radius = set(core), set(core), 0
    for wanted in _RADII:
        while radius < wanted and edge:
            edge = {n for node in edge for n in _neighbours(node) if n in order} - region
            region |= edge
            radius += 1
        yield set(region)
        if len(region) == len(order) or (radius < wanted and not edge):
            return


def _neighbours(node: Node) -> Iterable[Node]:
    yield from (v.producer for v in _needs(node) if v.producer is not None)
    for value in node.outputs:
        yield from value.consumers


def _needs(node: Node) -> list[Value]:
    found = [v for v in node.inputs if v is not None]
    for sub in node.subgraphs():
        found += sub.captures()
    return found


def _used_outside(value: Value, inside: set[Node], graph: Graph) -> bool:
    # Users in subgraphs count as outside: their node's own border is drawn by what it captures.
    users = value.consumers
    return not users or any(user not in inside for user in users)
