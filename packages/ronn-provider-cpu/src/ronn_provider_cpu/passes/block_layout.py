"""Chains of convolutions on channels in blocks of a vector's lanes.

Every node that can work on blocks is a candidate. At first all of them do; then, one by one, those change back with
which the graph loses nothing: what a node gains on blocks is held against the reordering of values that are made in
one layout and read in the other. What is left falls into regions, and a region stays when it gains as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, graphs, remove_dead, take_over
from ronn.passes.manager import FunctionPass, PassContext, define_pass
from ronn.records import dataclass, field, replace
from ronn_provider_cpu.ops import DOMAIN
from ronn_provider_cpu.passes.block_cost import FOLLOWING, WORTH_WHILE, reorder
from ronn_provider_cpu.passes.block_ops import candidate, is_convolution
from ronn_provider_cpu.passes.block_values import Candidate, Layouts

NAME = "block-layout"


@define_pass(NAME, requires_types=True, keeps_types=True, late=True)
def block_layout(graph: Graph, context: PassContext) -> bool:
    """Run chains of convolutions on channels in blocks of a vector's lanes."""
    lanes = _native_lanes(context)
    return False if lanes is None else _block(graph, context, lanes)


@cache
def block_layout_of(lanes: int) -> FunctionPass:
    """The pass for blocks of ``lanes`` channels, whatever this machine has."""
    return FunctionPass(
        NAME, lambda graph, context: _block(graph, context, lanes), requires_types=True, keeps_types=True, late=True
    )


def _native_lanes(context: PassContext) -> int | None:
    """The float32 lanes of the native kernels; None where they are switched off."""
    from ronn_provider_cpu.compiling import native_library

    if context.options.get("provider", {}).get("kernels", "native") != "native":
        return None
    library = native_library()
    return None if library is None else int(library.machine.target.lanes(32))


def _block(graph: Graph, context: PassContext, lanes: int) -> bool:
    if lanes == 1 or not any(map(is_convolution, graph.all_nodes())):
        return False
    changed = False
    for g in graphs(graph):
        if any(n.domain == DOMAIN for n in g):
            continue  # done before
        choice = _Choice(g, context, Layouts(lanes))
        for region in choice.regions():
            if not context.may_rewrite():
                break
            _convert(g, context, choice.layouts, region)
            changed = True
    return changed


@dataclass
class _Choice:
    """Which nodes of one graph work on blocks."""

    graph: Graph
    context: PassContext
    layouts: Layouts
    chosen: dict[Node, Candidate] = field(default_factory=dict)
    maker: dict[Value, Candidate] = field(default_factory=dict)  # who can make a value in blocks
    _reorder: dict[Value, float] = field(default_factory=dict)
    wanted: set[Value] = field(default_factory=set)  # graph outputs, and values that subgraphs use

    def regions(self) -> list[list[Candidate]]:
        """The candidates that change, each region in the order of the graph."""
        for node in self.graph:
            self.context.at = node
            found = candidate(node, self.layouts)
            if found is not None and self.context.owns(node):
                if found.gain == 0 and any(v in self.maker for v in found.reads):
                    found = replace(found, gain=FOLLOWING)
                self.chosen[node] = found
                self.layouts.used.update(found.reads, found.makes)
                self.maker.update(dict.fromkeys(found.makes, found))
        if not any(map(_is_conv, self.chosen.values())):
            return []
        self.wanted = set(self.graph.outputs)
        self._settle()
        return [r for r in self._parts() if self._gain(r) > WORTH_WHILE and any(map(_is_conv, r))]

    def _settle(self) -> None:
        queue = dict.fromkeys(self.chosen)
        while queue:
            node = next(iter(queue))
            del queue[node]
            c = self.chosen.get(node)
            if c is None:
                continue
            values = {*c.reads, *c.makes}
            before = sum(map(self._border, values))
            del self.chosen[node]
            if sum(map(self._border, values)) + c.gain <= before:
                for v in values:
                    queue.update(dict.fromkeys(n for n in (v.producer, *v.consumers) if n in self.chosen))
            else:
                self.chosen[node] = c

    def _border(self, value: Value) -> float:
        """The cost of having a value in both layouts, as far as it is needed in both."""
        made = self.maker.get(value)
        blocked = made is not None and made.node in self.chosen
        for node, _ in value.uses:
            reader = self.chosen.get(node)
            if (reader is not None and value in reader.reads) != blocked:
                break
        else:
            if not blocked or value not in self.wanted:
                return 0.0
        cost = self._reorder.get(value)
        if cost is None:
            shape = self.layouts.shape(value)
            assert shape is not None
            cost = self._reorder[value] = reorder(shape, self.layouts.lanes)
        return cost

    def _parts(self) -> list[list[Candidate]]:
        """The chosen candidates by connection over blocked values."""
        root: dict[Node, Node] = {n: n for n in self.chosen}

        def find(node: Node) -> Node:
            while root[node] is not node:
                root[node] = root[root[node]]
                node = root[node]
            return node

        for c in self.chosen.values():
            for v in c.reads:
                others = [v.producer] if v.producer in self.chosen else []
                others += [n for n in v.consumers if n in self.chosen and v in self.chosen[n].reads]
                for other in others:
                    assert other is not None
                    root[find(other)] = find(c.node)
        parts: dict[Node, list[Candidate]] = {}
        for node in self.graph:
            if node in self.chosen:
                parts.setdefault(find(node), []).append(self.chosen[node])
        return list(parts.values())

    def _gain(self, region: Sequence[Candidate]) -> float:
        values = {v for c in region for v in (*c.reads, *c.makes)}
        return sum(c.gain for c in region) - sum(map(self._border, values))


def _convert(graph: Graph, context: PassContext, at: Layouts, region: Sequence[Candidate]) -> None:
    """Puts the nodes of ``region`` on blocks, with reorderings where plain values go in and out."""
    blocked: dict[Value, Value] = {}
    made: list[Node] = []
    inside = {c.node for c in region}
    reads = {c.node: c.reads for c in region}
    for c in region:
        b = Builder(graph, c.node, context)
        for value in c.reads:
            if value not in blocked:
                attributes = {"lanes": at.lanes, **({"nhwc": 1} if value in at.last else {})}
                blocked[value] = b.op("Block", value, domain=DOMAIN, version=1, **attributes)
        results = c.make(b, blocked.__getitem__)
        for old, new in zip(c.node.outputs, results, strict=False):
            if old not in c.makes:
                if c.makes == ():
                    take_over(graph, old, new)
                continue
            blocked[old] = new
            if _is_plain_wanted(graph, old, inside, reads):
                shape = at.shape(old)
                assert shape is not None
                attributes = {"channels": shape[1], **({"nhwc": 1} if old in at.last else {})}
                if old.tensor.rank != 4:
                    attributes["rank"] = 3
                plain = b.op("Unblock", new, domain=DOMAIN, version=1, **attributes)
                take_over(graph, old, plain)
                blocked[plain] = new
        made += b.nodes
    context.rewrote(made, detail=f"{len(region)} nodes from {region[0].node.label}")
    remove_dead([c.node for c in region], graph)


def _is_conv(c: Candidate) -> bool:
    return is_convolution(c.node)


def _is_plain_wanted(graph: Graph, value: Value, inside: Iterable[Node], reads: dict[Node, tuple[Value, ...]]) -> bool:
    if graph.is_output(value):
        return True
    return any(n not in reads or value not in reads[n] for n in value.consumers)
