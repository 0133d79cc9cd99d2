"""Values of a model over the data, read from front to back. What is behind the last place that was read may be changed
meanwhile; what is in front of it is not computed again, as far as its values fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.ir.types import DType, TensorType
from ronn.model import Model
from ronn.passes.edit import remove_dead
from ronn.records import replace

Array = np.ndarray
Held = Mapping[Value, Any]
HELD = 1 << 29
"""Bytes of values that are kept from one place to the next."""


class Walk:
    """Through a model, with all feeds side by side. providers: that it runs on, None: the usual ones."""

    def __init__(
        self, model: IRModel, feeds: Iterable[Mapping[str, Any]], providers: Sequence[Any] | None = None,
        memory: int = HELD,
    ) -> None:  # fmt: skip
        self._model, self._memory, self._providers = model, memory, providers
        inputs = model.graph.inputs
        self._held: list[Held] = [{v: feed[v.name] for v in inputs if v.name in feed} for feed in feeds]

    def at(self, place: Node, wanted: Sequence[Value]) -> Iterator[list[Array]]:
        """What ``wanted`` hold, feed by feed. Nodes in front of ``place`` must not change from now on, and places of
        later calls are behind it."""
        graph = self._model.graph
        crossing = _crossing(graph, place) if self._memory else []
        known = self._held[0] if self._held else {}
        computed = list(dict.fromkeys(v for v in (*wanted, *crossing) if v not in known))
        kept: list[Held] | None = [] if self._memory else None
        size = 0
        for held, found in zip(self._held, self._run(computed), strict=True):
            every = {**held, **found}
            yield [np.asarray(every[v]) for v in wanted]
            if kept is not None:
                kept.append({v: every[v] for v in crossing})
                size += sum(a.nbytes for a in kept[-1].values() if isinstance(a, np.ndarray))
                kept = kept if size <= self._memory else None
        if kept is not None:
            self._held = kept

    def _run(self, values: Sequence[Value]) -> Iterator[Held]:
        if not values or not self._held:
            yield from ({} for _ in self._held)
            return
        copies: dict[Value, Value] = {}
        graph = clone(self._model.graph, copies)
        graph.inputs = []
        for value, example in self._held[0].items():
            given = Value(value.name, _type(value, example))
            graph.replace_uses(copies[value], given)
            graph.inputs.append(given)
        graph.outputs, graph.output_names = [], []
        for value in values:
            graph.add_output(copies[value])
        remove_dead(reversed(graph.nodes), graph)
        graph.inputs = [v for v in graph.inputs if v.uses]
        names = {v.name for v in graph.inputs}
        with Model(replace(self._model, graph=graph)).create_session(providers=self._providers) as session:
            for held in self._held:
                found = session.run({v.name: a for v, a in held.items() if v.name in names})
                yield {v: found[v.name] for v in values}


def _type(value: Value, example: Any) -> Any:
    """What is known of the type of a value that has come from outside; sizes that vary are left open."""
    if not isinstance(example, np.ndarray):
        return value.type
    shape = value.tensor.shape
    known = [None] * example.ndim if shape is None else [d if isinstance(d, int) else None for d in shape]
    return TensorType(DType.of(example.dtype), tuple(known))


def _crossing(graph: Graph, place: Node) -> list[Value]:
    """Values that depend on inputs, are there in front of ``place``, and are used from it on."""
    varying = set(graph.inputs)
    found: dict[Value, None] = {}
    here: set[Value] = set()
    reached = False
    for node in graph:
        reached = reached or node is place
        used = [v for v in node.inputs if v is not None]
        used += [v for g in node.subgraphs() for v in g.captures()]
        changing = [v for v in used if v in varying]
        if changing:
            varying.update(node.outputs)
        if reached:
            found.update(dict.fromkeys(v for v in changing if v not in here))
            here.update(node.outputs)
    return list(found)


def traced(
    model: IRModel, values: Sequence[Value], feeds: Iterable[Mapping[str, Any]], providers: Sequence[Any] | None = None
) -> Iterator[list[Array]]:
    """What ``values`` of the model's graph hold, feed by feed; what none of them needs is not computed."""
    last = next(reversed(model.graph), None)
    return iter(()) if last is None else Walk(model, feeds, providers, memory=0).at(last, values)
