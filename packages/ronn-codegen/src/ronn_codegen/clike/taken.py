"""Nodes that a device has said yes to: those like them are not lowered again to be claimed.

A node is asked for several times while a model is planned, and layers repeat. What is the same of nodes that are alike
is their form (``ronn_codegen.alike``); lowerings that are not marked ``alike`` may read any constant: these must be the
same arrays.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from ronn_codegen.alike import form
from ronn_codegen.lowering import Context, Refused

if TYPE_CHECKING:
    import numpy as np

    from ronn.ir.graph import Node

_MOST = 10_000


class Taken:
    """What one device has said yes to. Reasons for a no name values, and are made anew."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[weakref.ref[np.ndarray], ...]] = {}

    def key(self, context: Context, node: Node) -> tuple[Hashable, Sequence[np.ndarray]] | None:
        """What a node is known by, and the arrays that must be the same; None for one of open sizes."""
        try:
            facts, _ = form(context, (node,), ())
        except Refused:
            return None
        if all(e.alike for e in context.table.entries(node.domain, node.op)):
            return facts, ()
        arrays = [v.data for v in node.inputs if v is not None and v.data is not None]
        return (facts, tuple(map(id, arrays))), arrays

    def has(self, key: tuple[Hashable, Sequence[np.ndarray]]) -> bool:
        """Whether a node of this key was taken."""
        found = self._known.get(key[0])
        return found is not None and all(ref() is array for ref, array in zip(found, key[1], strict=True))

    def add(self, key: tuple[Hashable, Sequence[np.ndarray]]) -> None:
        """A node of this key was taken."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[key[0]] = tuple(weakref.ref(a) for a in key[1])
