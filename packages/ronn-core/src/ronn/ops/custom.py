"""Operators that were registered with ``ronn.op``: looked up here, registered by ``ronn.custom``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ronn.errors import OptionError

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


Home = tuple[str, str, str, str]
"""The module of an operator's function, the function, domain and name of the operator."""


def homes(graph: Graph) -> list[Home]:
    """Where the operators of ``graph`` come from: what another process must import to have them."""
    found = {find_for(node): None for node in graph.all_nodes()} if table else {}
    return [(o.fn.__module__, o.fn.__qualname__, o.domain, o.name) for o in found if o is not None]


def bring_in(listed: Sequence[Home]) -> None:
    """Imports the modules that register operators. OptionError for one that cannot be imported, or does not."""
    from importlib import import_module

    hint = "functions of ronn.op that other processes need stand at the top of a module that they can import"
    for module, function, domain, name in listed:
        if (domain, name) in table:
            continue
        try:
            import_module(module)
        except Exception as e:
            text = f"module {module!r}, which registers {domain}::{name}, cannot be imported: {type(e).__name__}: {e}"
            raise OptionError(text, hint=hint) from e
        if (domain, name) not in table:
            raise OptionError(f"importing {module!r} does not register {domain}::{name} ({function})", hint=hint)
