"""Reductions, one node at a time: the rules of ``ronn_codegen.loops.rows``."""

from __future__ import annotations

from ronn_codegen.loops.rows import REDUCES
from ronn_provider_cpu.lower._rows import run_rows
from ronn_provider_cpu.lowering import Lowering, lower


def reduction(c: Lowering) -> None:
    """A node that leaves one element of each row."""
    run_rows(c, (c.node,), c.node, c.node.inputs, c.node.outputs[:1])


for _domain, _op in REDUCES:
    lower(_op, domain=_domain)(reduction)
