"""What passes rest on: fresh names, unique in the whole model, and subgraphs whose outputs are their own values."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node, Value


class Names:
    """The names in use. ``scan`` learns those of a graph and its subgraphs; ``fresh`` makes a new one."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}
        self._scanned = False

    def scan(self, graph: Graph) -> None:
        """Learns every value name of ``graph`` and its subgraphs."""
        self._scanned = True
        self._used.update(v.name for v in graph.values())
        self._used.update(graph.output_names)
        for sub in graph.inner_graphs():
            self.scan(sub)

    def claim(self, name: str) -> str:
        """``name`` when nothing carries it yet, else ``name`` with a number."""
        if name not in self._used:
            self._used.add(name)
            return name
        return self._number(name)

    def fresh(self, graph: Graph, stem: str) -> str:
        """``stem`` with a number that no known name has."""
        if not self._scanned:
            self.scan(graph)
        return self._number(stem)

    def _number(self, stem: str) -> str:
        root, _, tail = stem.rpartition(".")
        if root and tail.isdigit():
            stem = root
        number = self._next.get(stem, 0)
        while True:
            number += 1
            name = f"{stem}.{number}"
            if name not in self._used:
                self._next[stem] = number
                self._used.add(name)
                return name


def own_outputs(graph: Graph, names: Names) -> None:
    """Gives subgraphs that hand out a value of a graph around them an Identity, so that every use is in ``uses``."""
    for node in graph:
        for sub in node.subgraphs():
            own = {id(v) for v in sub.values()}
            for i, value in enumerate(sub.outputs):
                if id(value) not in own:
                    out = Value(names.fresh(sub, value.name), value.type)
                    sub.append(Node("Identity", [value], [out], version=node.version if node.domain == "" else 1))
                    sub.outputs[i] = out
            own_outputs(sub, names)
