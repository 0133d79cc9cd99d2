"""A record of a graph as it changes: equal nodes, values and types are noted once, each stage says only what is new."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from ronn.inspection.constants import brief, statistics
from ronn.ir.graph import AttrRef, Graph, IRModel, Node, Value
from ronn.passes.manager import PassRow
from ronn.records import dataclass, field

_LONGEST = 400  # characters of an attribute
_SOME = 16  # elements of a list


@dataclass(slots=True)
class Snapshot:
    """The graph after a stage or a pass. ``types`` and ``constants`` are what changed since the snapshot before: pairs
    of value and type (or constant; -1: none any more)."""

    title: str
    stage: str
    row: PassRow | None
    graph: int
    types: list[tuple[int, int]]
    constants: list[tuple[int, int]]


class Book:
    """Tables of all that was seen, and the snapshots. A value is known by its graph and its name, a node by what it
    holds (not by its types, provider or tags), a graph by its nodes."""

    def __init__(self, model: IRModel) -> None:
        self.snapshots: list[Snapshot] = []
        self.nodes: list[dict[str, Any]] = []
        self.values: list[str] = []
        self.graphs: list[dict[str, Any]] = []
        self.types: list[str] = []
        self.constants: list[dict[str, Any]] = []
        self.stage = "imported"
        self._number: dict[Any, int] = {}
        self._typed: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._arrays: dict[int, tuple[weakref.ref[np.ndarray], int]] = {}  # by identity: constants that were seen
        self._now = _Now()
        self.functions = {
            f"{f.domain}::{f.name}": self._graph(f.body, ("function", *key), {}) for key, f in model.functions.items()
        }

    # --- taking down

    def take(self, title: str, graph: Graph, row: PassRow | None = None) -> None:
        """Notes the graph as it stands; ``row``: the pass that just ran."""
        self._now = _Now()
        number = self._graph(graph, (), {})
        types = _changes(self._typed, self._now.types)
        constants = _changes(self._held, self._now.constants)
        constants += [(v, -1) for v in self._held.keys() - self._now.constants.keys()]
        self._typed, self._held = {**self._typed, **self._now.types}, self._now.constants
        self.snapshots.append(Snapshot(title, self.stage, row, number, types, constants))

    def after(self, row: PassRow, graph: Graph) -> None:
        """What a request's ``observe`` calls: passes that changed nothing leave no snapshot."""
        if row.changed:
            self.take(row.name, graph, row)

    def mark(self) -> tuple[Any, ...]:
        """Where the record stands, for ``rewind``."""
        return len(self.snapshots), self._typed, self._held

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """Forgets the snapshots taken since ``mark``."""
        length, self._typed, self._held = mark
        del self.snapshots[length:]

    def placement(self, graph: Graph) -> dict[int, tuple[str, str]]:
        """Provider and reason by node, of a graph that was taken last."""
        return {self._now.nodes[id(n)]: (n.provider or "ronn", n.reason) for n in graph.all_nodes()}

    def data(self) -> dict[str, Any]:
        """All tables, ready for JSON."""
        return {
            "nodes": self.nodes,
            "values": self.values,
            "graphs": [{**g, "nodes": _runs(g["nodes"])} for g in self.graphs],
            "types": self.types,
            "constants": self.constants,
            "functions": self.functions,
            "snapshots": [_snapshot(s) for s in self.snapshots],
        }

    # --- graphs

    def _once(self, kind: str, key: Any, table: list[Any], make: Any) -> int:
        found = self._number.get((kind, key))
        if found is None:
            found = self._number[kind, key] = len(table)
            table.append(make())
        return found

    def _graph(self, graph: Graph, scope: tuple[Any, ...], known: dict[int, int]) -> int:
        """The number of a graph. ``known``: numbers of the values of the graphs around it, by identity."""
        seen = dict(known)
        for value in (*graph.inputs, *graph.initializers.values()):
            seen[id(value)] = self._value(value, scope)
        rows = []
        for node in graph:
            for value in node.outputs:
                if value.name:
                    seen[id(value)] = self._value(value, scope)
            rows.append(self._node(node, scope, seen))
        inputs, outputs = _numbers(graph.inputs, seen), _numbers(graph.outputs, seen)
        key = (graph.name, tuple(inputs), tuple(outputs), tuple(graph.output_names), tuple(rows))
        return self._once(
            "graph", key, self.graphs,
            lambda: {
                "name": graph.name, "in": inputs, "out": outputs, "names": list(graph.output_names), "nodes": rows,
            },
        )  # fmt: skip

    def _value(self, value: Value, scope: tuple[Any, ...]) -> int:
        number = self._once("value", (scope, value.name), self.values, lambda: value.name)
        text = "?" if value.type is None else str(value.type)
        self._now.types[number] = self._once("type", text, self.types, lambda: text)
        if value.data is not None:
            self._now.constants[number] = self._constant(value.data)
        return number

    def _constant(self, array: np.ndarray) -> int:
        found = self._arrays.get(id(array))
        if found is not None and found[0]() is array:
            return found[1]
        self.constants.append(statistics(array))
        self._arrays[id(array)] = (weakref.ref(array), len(self.constants) - 1)
        return len(self.constants) - 1

    def _node(self, node: Node, scope: tuple[Any, ...], seen: dict[int, int]) -> int:
        ins, outs = _numbers(node.inputs, seen), _numbers(node.outputs, seen)
        place = (*scope, outs[0] if outs and outs[0] >= 0 else node.name)
        attributes, graphs = {}, {}
        for name, attr in node.attributes.items():
            for label, sub in _subgraphs(name, attr):
                graphs[label] = self._graph(sub, (*place, label), seen)
            if not isinstance(attr, Graph):
                attributes[name] = _text(attr)
        key = (node.op_id, node.version, node.name, tuple(ins), tuple(outs), str(attributes), str(graphs))
        number = self._once(
            "node", key, self.nodes,
            lambda: {
                "op": node.op_id, "version": node.version, "name": node.name, "in": ins, "out": outs,
                **({"attributes": attributes} if attributes else {}), **({"graphs": graphs} if graphs else {}),
                **({"tags": list(node.tags)} if node.tags else {}),
            },
        )  # fmt: skip
        self._now.nodes[id(node)] = number
        return number


@dataclass
class _Now:
    """What was met while one snapshot was taken."""

    types: dict[int, int] = field(default_factory=dict)
    constants: dict[int, int] = field(default_factory=dict)
    nodes: dict[int, int] = field(default_factory=dict)


def _snapshot(s: Snapshot) -> dict[str, Any]:
    data = {"title": s.title, "stage": s.stage, "graph": s.graph, "types": s.types, "constants": s.constants}
    if s.row is not None:
        data |= {"rewrites": s.row.rewrites, "round": s.row.iteration, "seconds": s.row.seconds}
    return data


def _numbers(values: Iterable[Value | None], seen: dict[int, int]) -> list[int]:
    return [-1 if v is None or not v.name else seen.get(id(v), -1) for v in values]


def _changes(old: dict[int, int], new: dict[int, int]) -> list[tuple[int, int]]:
    return [(v, n) for v, n in new.items() if old.get(v) != n]


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Numbers as runs of successive ones: start and length."""
    found: list[tuple[int, int]] = []
    for n in numbers:
        if found and found[-1][0] + found[-1][1] == n:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((n, 1))
    return found


def _subgraphs(name: str, attr: Any) -> list[tuple[str, Graph]]:
    if isinstance(attr, Graph):
        return [(name, attr)]
    if isinstance(attr, list) and attr and isinstance(attr[0], Graph):
        return [(f"{name}[{i}]", g) for i, g in enumerate(attr)]
    return []


def _text(attr: Any) -> str:
    if isinstance(attr, np.ndarray):
        return brief(attr)
    if isinstance(attr, AttrRef):
        return f"the call's {attr.name}"
    if isinstance(attr, bytes):
        text = attr.decode("utf-8", "replace")
    elif isinstance(attr, float):
        text = f"{attr:.7g}"
    elif isinstance(attr, list):
        text = f"[{', '.join(_text(a) for a in attr[:_SOME])}{f', … {len(attr)} in all' if len(attr) > _SOME else ''}]"
    else:
        text = str(attr)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
