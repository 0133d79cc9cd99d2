"""Fresh value names for passes: unique in the whole model, so that subgraphs can be inlined and text read back."""

from __future__ import annotations

from ronn.ir.graph import Graph


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
        for node in graph:
            for sub in node.subgraphs():
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
