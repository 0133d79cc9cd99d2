"""Operators that were registered with ``ronn.op``: looked up here, registered by ``ronn.custom``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ronn.custom.registry import CustomOp
    from ronn.ir.graph import Graph, Node

NEWEST = 2**31 - 1

table: dict[tuple[str, str], dict[int, CustomOp]] = {}
"""By domain and name, then by the version that each begins with."""

_changes = 0


def changes() -> int:
    """How often something was registered, replaced or removed: what was made of operators before may be stale."""
    return _changes


def changed() -> None:
    """Counts a change of ``table``."""
    global _changes
    _changes += 1


def find(domain: str, name: str, version: int = NEWEST) -> CustomOp | None:
    """The operator that version ``version`` of ``domain`` has; None when none is registered."""
    versions = table.get((domain, name))
    if versions is None:
        return None
    return max((o for o in list(versions.values()) if o.since <= version), key=lambda o: o.since, default=None)


def find_for(node: Node) -> CustomOp | None:
    """The operator of a node; None when none is registered for it."""
    return find(node.domain, node.op, node.version) if (node.domain, node.op) in table else None


def check_nodes(graph: Graph) -> None:
    """ModelError for a node of ``graph`` or its subgraphs that the function registered for it cannot be called for."""
    for node in graph.all_nodes() if table else ():
        found = find_for(node)
        if found is not None:
            found.signature.check(node)
            found.signature.bind(node)


def registered() -> list[CustomOp]:
    """Every registered operator, by domain, name and version."""
    return [o for key in sorted(table) for _, o in sorted(table[key].items())]
