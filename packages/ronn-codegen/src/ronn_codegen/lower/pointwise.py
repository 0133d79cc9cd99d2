"""Elementwise operators, one node at a time: the rules of ``ronn_codegen.loops.pointwise``."""

from __future__ import annotations

from ronn_codegen.loops.pointwise import RULES
from ronn_codegen.lower._loops import run_pointwise
from ronn_codegen.lowering import Lowering
from ronn_codegen.table import lower

# These have kernels of their own elsewhere, that copy or do nothing at all.
_ELSEWHERE = {("", op) for op in ("Identity", "Expand", "Dropout")}


def elementwise(c: Lowering) -> None:
    """An elementwise node as a loop over its elements."""
    node = c.node
    c.require(not any(v.name and (v.uses or v is node.outputs[0]) for v in node.outputs[1:]), "a second output")
    if node.op in ("Cast", "CastLike") and node.inputs[0] is not None and node.inputs[0].dtype is node.outputs[0].dtype:
        c.alias(0, 0)
        return
    run_pointwise(c, (node,), node.inputs, node.outputs[:1])


for _domain, _op in RULES:
    if (_domain, _op) not in _ELSEWHERE:
        lower(_op, domain=_domain, empty=_op == "CastLike")(elementwise)
