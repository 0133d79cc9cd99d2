"""Reductions, one node at a time: the rules of ``ronn_codegen.loops.rows``."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.loops.rows import REDUCES
from ronn_codegen.lower._copies import fill, wanted
from ronn_codegen.lower._rows import run_rows
from ronn_codegen.lowering import Lowering
from ronn_codegen.table import lower

_OF_NOTHING = {
    "ReduceSum": 0.0, "ReduceProd": 1.0, "ReduceMax": -math.inf, "ReduceMin": math.inf, "ReduceMean": math.nan,
    "ReduceL1": 0.0, "ReduceL2": 0.0, "ReduceSumSquare": 0.0, "ReduceLogSum": -math.inf, "ReduceLogSumExp": -math.inf,
}  # fmt: skip


_LEAVE = frozenset({"ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin"})  # one element as it is


def _no_axes(c: Lowering) -> bool:
    axes = c.input(1)
    return not c.node.attributes.get("axes") and (axes is None or axes.size == 0)


def reduction(c: Lowering) -> None:
    """A node that leaves one element of each row."""
    if wanted(c.inputs[0]).size == 0:
        _of_nothing(c)
        return
    if c.node.op in _LEAVE and c.attr("noop_with_empty_axes", 0) and _no_axes(c):
        c.alias(0, 0)
        return
    c.require(all(i is None or i.size for i in c.inputs[1:]) or c.node.op in _OF_NOTHING, "an input has no elements")
    run_rows(c, (c.node,), c.node, c.node.inputs, c.node.outputs[:1])


def _of_nothing(c: Lowering) -> None:
    """What is left of rows without elements: the operation's neutral element."""
    y = wanted(c.outputs[0])
    value = _OF_NOTHING.get(c.node.op) if c.node.domain == "" else None
    c.require(value is not None, "an input has no elements")
    assert value is not None
    if y.dtype.kind in "iu" and not math.isfinite(value):
        c.require(c.node.op in ("ReduceMax", "ReduceMin"), f"{c.node.op} of no {y.dtype}")
        limits = np.iinfo(y.dtype)
        value = limits.min if value < 0 else limits.max
    elif y.dtype.kind == "b":
        value = value > 0
    fill(c, y, np.array([value]).astype(y.dtype))


for _domain, _op in REDUCES:
    lower(_op, domain=_domain, empty=True)(reduction)
