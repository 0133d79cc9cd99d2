"""An order of nodes in which every value is made before it is used."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ronn.frontend.names import text

if TYPE_CHECKING:
    import onnx

    from ronn.ir.graph import Value


class Names(Protocol):
    """What is defined before the first node."""

    def find(self, name: str) -> Value | None: ...


def node_order(nodes: Sequence[onnx.NodeProto], before: Names) -> tuple[list[int], list[int]]:
    """The indices of ``nodes`` in an order that works, and the indices of a circle when there is none.

    The order of the file is kept when it works; otherwise the nodes that come first in it stay first. Names that
    nothing makes are not this function's business.
    """
    used = [_used(node) for node in nodes]
    made: set[str] = set()
    for node, names in zip(nodes, used, strict=True):
        if any(name not in made and before.find(name) is None for name in names):
            return _sorted(nodes, used)
        made.update(text(n) for n in node.output)
    return list(range(len(nodes))), []


def _sorted(nodes: Sequence[onnx.NodeProto], used: Sequence[set[str]]) -> tuple[list[int], list[int]]:
    maker = {name: i for i, node in enumerate(nodes) for name in map(text, node.output) if name}
    needs = [{maker[name] for name in names if name in maker} for names in used]
    users: list[list[int]] = [[] for _ in nodes]
    for i, makers in enumerate(needs):
        for m in makers:
            users[m].append(i)
    waiting = [len(makers) for makers in needs]
    ready = [i for i, n in enumerate(waiting) if n == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for user in users[i]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if len(order) == len(nodes):
        return order, []
    return [], _circle(needs, {i for i, n in enumerate(waiting) if n > 0})


def _circle(needs: Sequence[set[int]], stuck: set[int]) -> list[int]:
    """A circle among the nodes that could not be ordered: from each one goes to one that it waits for."""
    path: list[int] = []
    at = min(stuck)
    place: dict[int, int] = {}
    while at not in place:
        place[at] = len(path)
        path.append(at)
        at = min(m for m in needs[at] if m in stuck)
    return [*path[place[at] :], at][::-1]


def _used(node: onnx.NodeProto) -> set[str]:
    """The names that a node takes, those that graphs among its attributes take from outside included."""
    names = {text(name) for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            names |= _captured(attribute.g)
        for graph in attribute.graphs:
            names |= _captured(graph)
    return names


def _captured(graph: onnx.GraphProto) -> set[str]:
    own = {text(t.name) for t in graph.initializer}
    own.update(text(t.values.name) for t in graph.sparse_initializer)
    own.update(text(info.name) for info in graph.input)
    later = {text(name) for node in graph.node for name in node.output}
    free: set[str] = set()
    for node in graph.node:
        # A name that this graph makes only later may mean one of the graph around: then that comes first.
        free.update(name for name in _used(node) if name not in own and name not in later)
        own.update(text(n) for n in node.output)
    free.update({text(info.name) for info in graph.output} - own)
    return free
