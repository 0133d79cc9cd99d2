"""Softmax and normalisations, one node at a time: the rules of ``ronn_codegen.loops.rows``."""

from __future__ import annotations

from ronn_codegen.loops.rows import ROWS
from ronn_codegen.lower._rows import run_rows
from ronn_codegen.lowering import Lowering
from ronn_codegen.table import lower


def rows(c: Lowering) -> None:
    """A node that computes with whole rows of its input."""
    outputs = [v for v in c.node.outputs if v.name]
    run_rows(c, (c.node,), c.node, c.node.inputs, outputs)


for _domain, _op in ROWS:
    lower(_op, domain=_domain)(rows)
