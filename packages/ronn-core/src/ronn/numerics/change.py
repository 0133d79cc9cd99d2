"""What one rewrite did to a graph, told by the graphs just before and after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from ronn.errors import describe_value
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.literals import MAX_INLINE, content_hash, format_elements
from ronn.ir.text import print_node
from ronn.records import dataclass

_SHOWN = 8  # elements of a large constant


@dataclass(frozen=True)
class Change:
    """before, after: the lines of nodes and constants that are in one of the graphs only. made: the nodes of those
    lines in the graph after, and those that read constants which changed; gone: of the graph before."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    made: tuple[Node, ...]
    gone: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Labels of the nodes that the rewrite made or changed; where it only removed some, of those."""
        return tuple(dict.fromkeys(n.label for n in (self.made or self.gone)))

    @property
    def names(self) -> frozenset[str]:
        """Names of the values that the nodes make."""
        return frozenset(v.name for n in (*self.made, *self.gone) for v in n.outputs if v.name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the nodes take: names, types, who makes them."""
        inside = {v for n in self.made for v in n.outputs}
        taken = dict.fromkeys(v for n in (self.made or self.gone) for v in n.inputs if v is not None)
        return tuple(describe_value(v) for v in taken if v not in inside)


def change_between(before: Graph, after: Graph) -> Change:
    """Compares by text but for types: nodes that stand in both as they are, wherever, did not change."""
    old, new = _lines(before), _lines(after)
    gone = Counter(line for line, _ in old) - Counter(line for line, _ in new)
    came = Counter(line for line, _ in new) - Counter(line for line, _ in old)
    old_constants, new_constants = _constants(before), _constants(after)
    lines_before, lines_after = [], []
    touched: set[Node] = set()
    for name, value in old_constants.items():
        other = new_constants.get(name)
        if other is None:
            lines_before.append(_constant(value))
        elif not _same(value, other):
            lines_before.append(_constant(value))
            lines_after.append(_constant(other))
            touched |= set(other.consumers)
    for name, value in new_constants.items():
        if name not in old_constants:
            lines_after.append(_constant(value))
            touched |= set(value.consumers)
    made = list(_take(new, came))
    made += [n for _, n in new if n in touched and n not in made]
    removed = list(_take(old, gone))
    lines_before += [print_node(n) for n in removed]
    lines_after += [print_node(n) for n in made]
    if _returns(before) != _returns(after):
        lines_before.append(_returns(before))
        lines_after.append(_returns(after))
    return Change(tuple(lines_before), tuple(lines_after), tuple(made), tuple(removed))


def alive(graph: Graph) -> set[Node]:
    """The nodes that outputs hang on, of subgraphs too: what a rewrite has replaced may not have been removed yet."""
    found: set[Node] = set()
    todo = [v.producer for v in graph.outputs]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [v.producer for v in node.inputs if v is not None]
            todo += [v.producer for sub in node.subgraphs() for v in (*sub.outputs, *sub.captures())]
    return found


def _lines(graph: Graph) -> list[tuple[str, Node]]:
    """The lines of the nodes that outputs hang on."""
    wanted = alive(graph)
    return [(_key(n), n) for n in graph.all_nodes() if n in wanted]


def _key(node: Node) -> str:
    made = ", ".join(v.name for v in node.outputs)
    return f"{made} = {print_node(node).partition(' = ')[2]}"


def _take(lines: list[tuple[str, Node]], wanted: Counter[str]) -> Iterator[Node]:
    left = Counter(wanted)
    for line, node in lines:
        if left[line] > 0:
            left[line] -= 1
            yield node


def _constants(graph: Graph) -> dict[str, Value]:
    found = {}
    for g in _graphs(graph):
        found.update({n: v for n, v in g.initializers.items() if v.data is not None and (v.uses or g.is_output(v))})
    return found


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for sub in graph.inner_graphs():
        yield from _graphs(sub)


def _same(a: Value, b: Value) -> bool:
    left, right = a.data, b.data
    assert left is not None and right is not None
    if left is right:
        return True
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype == object:
        return bool(np.all(left == right))
    return np.ascontiguousarray(left).tobytes() == np.ascontiguousarray(right).tobytes()


def _constant(value: Value) -> str:
    data = value.data
    assert data is not None
    head = f"%{value.name}: {value.type} = const"
    if data.size <= MAX_INLINE:
        return f"{head} {{{format_elements(data)}}}"
    if data.dtype.kind not in "fiu":
        return f"{head} #{content_hash(data)}"
    few = ", ".join(f"{x:.6g}" for x in data.reshape(-1)[:_SHOWN].astype(np.float64))
    return f"{head} {{{few}, ...}}"


def _returns(graph: Graph) -> str:
    return "return " + ", ".join(f"%{v.name}" for v in graph.outputs)
