"""Constants that a compiled part reads no more: their arrays are let go while the part is still being compiled.

A kernel that reads packed weights has no use for the originals. Taken from the graph as soon as the last node that uses
them is lowered, they and their packed form never lie in memory together for more than one layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ronn.ir.graph import Graph, Node, Value
from ronn.provider.contract import Part
from ronn.provider.native import At
from ronn_provider_cpu.lowering import Lowering

LEAST = 4096
"""Bytes of a constant worth letting go."""


class Spending:
    """Follows the lowering of a part, and empties constants that nothing will read. ``spent`` are those."""

    def __init__(self, part: Part) -> None:
        graph = part.nodes[0].graph
        self.spent: set[Value] = set()
        self._left: dict[Value, int] = {}
        self._kept: set[Value] = set(part.outputs)
        self._own: Graph | None = graph
        if graph is not None:
            self._kept.update(_returned(graph))

    def done(self, made: Sequence[Lowering | Node]) -> None:
        """Says that these were lowered, or will run on NumPy kernels."""
        for each in made:
            kept = isinstance(each, Node)
            nodes = (each,) if isinstance(each, Node) else each.nodes
            large = [
                v
                for node in nodes
                for v in node.inputs
                if v is not None and v.data is not None and v.data.nbytes >= LEAST
            ]
            if large and isinstance(each, Lowering):
                self._kept.update(_read(each))
            for value in large:
                self._use(value, kept)

    def _use(self, value: Value, kept: bool) -> None:
        if kept:
            self._kept.add(value)
        left = self._left[value] = self._left.get(value, len(value.uses)) - 1
        # Constants of graphs around this one are used in ways that are not seen from here.
        own = self._own is not None and self._own.initializers.get(value.name) is value
        if left == 0 and own and value not in self._kept:
            value.data = None
            self.spent.add(value)


def _read(lowering: Lowering) -> Iterator[Value]:
    """Values whose own bytes the kernels read, or outputs are."""
    for pending in lowering.pending:
        yield from (word.value for word in pending.words if isinstance(word, At))
    for index in lowering.read_inputs:
        value: Value | None = lowering.node.inputs[index] if index < len(lowering.node.inputs) else None
        if value is not None:
            yield value


def _returned(graph: Graph) -> Iterator[Value]:
    yield from graph.outputs
    for node in graph:
        for sub in node.subgraphs():
            yield from _returned(sub)
