"""Where every node runs, and why."""

from __future__ import annotations

from collections.abc import Iterator

from ronn.ir.graph import Graph, Node
from ronn.partition import CONTROL, is_copy
from ronn.records import dataclass


@dataclass(frozen=True, slots=True)
class PlacementRow:
    """One node: its label, operator, opset version, provider, device and the reason. ``depth`` counts subgraphs."""

    node: str
    op: str
    version: int
    provider: str
    device: str
    reason: str
    depth: int = 0
    tags: tuple[str, ...] = ()


class Placement:
    """The rows of a graph in order, those of subgraphs behind their node. ``str()`` is a table."""

    def __init__(self, rows: list[PlacementRow]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, graph: Graph, devices: dict[str, str]) -> Placement:
        return cls(list(_rows(graph, devices, 0)))

    def __iter__(self) -> Iterator[PlacementRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def counts(self) -> dict[str, int]:
        """Nodes per provider; the plan's own (control flow, copies) count under ``ronn``."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.provider] = found.get(row.provider, 0) + 1
        return dict(sorted(found.items(), key=lambda kv: -kv[1]))

    def copies(self) -> list[PlacementRow]:
        """The copies between memories."""
        return [r for r in self.rows if r.op == "ronn::Copy"]

    def __str__(self) -> str:
        head = ("node", "op", "provider", "reason")
        table = [("  " * r.depth + r.node, r.op, r.provider, r.reason) for r in self.rows]
        widths = [max(len(row[i]) for row in [head, *table]) for i in range(3)]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(row, [*widths, 0], strict=True)).rstrip() for row in [head, *table]
        ]
        return "\n".join(lines)


def _rows(graph: Graph, devices: dict[str, str], depth: int) -> Iterator[PlacementRow]:
    for node in graph:
        yield _row(node, devices, depth)
        for sub in node.subgraphs():
            yield from _rows(sub, devices, depth + 1)


def _row(node: Node, devices: dict[str, str], depth: int) -> PlacementRow:
    provider = node.provider or ""
    device = node.attributes["to"] if is_copy(node) else devices.get(provider, "host")
    return PlacementRow(
        node.label, node.op_id, node.version, provider or CONTROL, str(device), node.reason, depth, node.tags
    )
