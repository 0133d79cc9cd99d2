"""NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: a row is the classes of one element."""

from __future__ import annotations

import math
from typing import Any

from ronn_codegen.loops.language import FLOATS, HALVES
from ronn_codegen.loops.nest import Bound, Nest
from ronn_codegen.loops.write import Value as Element
from ronn_codegen.loops.write import where
from ronn_codegen.lower._copies import wanted
from ronn_codegen.lower._loops import type_name
from ronn_codegen.lowering import Lowering, Operand
from ronn_codegen.table import lower


@lower("NegativeLogLikelihoodLoss")
@lower("SoftmaxCrossEntropyLoss")
def loss(c: Lowering) -> None:
    """The loss of each element in one loop over its classes, then their sum or mean in another."""
    x, target, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    weight, log_prob = c.input(2), c.outputs[1] if len(c.outputs) > 1 else None
    name = type_name(x.value)
    wide = "f32" if name in HALVES else name
    c.require(wide in FLOATS and x.rank >= 2, f"scores of type {name}")
    reduction = c.attr("reduction", "mean")
    reduction = reduction.decode() if isinstance(reduction, bytes) else str(reduction)
    n, classes = x.shape[:2]
    plane = x.size // (n * classes)
    elements = n * plane
    size = 8 if wide == "f64" else 4
    # What a row leaves: its loss, its weight, and whether its target is no class.
    losses = y if reduction == "none" else c.temp(elements * size)
    places: dict[str, Any] = {
        "x": x, "target": target, "weight": weight, "log_prob": log_prob, "loss": losses,
        "factor": c.temp(elements * size), "bad": c.temp(elements * 8), "y": y,
        "status": c.status(f"{c.node.label}: a target lies outside 0..{classes - 1}"),
    }  # fmt: skip
    rows = _rows(c, x, target, weight, log_prob, type_name(y.value) if reduction == "none" else wide, wide)
    _call(c, rows, places, elements // 16, elements * classes)
    nest = Nest((elements,), 1)
    with nest.writer.each():
        worst = nest.writer.reduce("largest", nest.load("bad", "i64", (1,)))
        total = nest.writer.reduce("sum", nest.load("loss", wide, (1,))) if reduction != "none" else None
        factor = nest.writer.reduce("sum", nest.load("factor", wide, (1,))) if reduction == "mean" else None
    with nest.writer.row():
        nest.store("status", "i64", (0,), worst)
        if total is not None:
            made = total if factor is None else total / factor
            nest.store("y", type_name(y.value), (0,), made.cast(type_name(y.value)))
    _call(c, nest.finish(), places, 1, elements)


def _rows(
    c: Lowering, x: Operand, target: Operand, weight: Operand | None, log_prob: Operand | None, stored: str, wide: str
) -> Bound:
    n, classes = x.shape[:2]
    plane = math.prod(x.shape[2:])
    laid, beside, along = (classes * plane, 1, plane), (plane, 1, 0), (0, 0, 1)
    nest = Nest((n, plane, classes), 1)
    writer = nest.writer

    def score() -> Element:
        return nest.load("x", type_name(x.value), laid).cast(wide)

    shift: Element | None = None
    if c.node.op == "SoftmaxCrossEntropyLoss":
        with writer.each():
            peak = writer.reduce("peak", score())
        with writer.each():
            total = writer.reduce("sum", (score() - peak).do("exp"))
        with writer.row():
            shift = peak + total.do("log")
    ignored_class = c.node.attributes.get("ignore_index")
    with writer.each():
        value = score() if shift is None else score() - shift
        if log_prob is not None:
            nest.store("log_prob", type_name(log_prob.value), laid, value.cast(type_name(log_prob.value)))
        hit = writer.position().eq(nest.load("target", type_name(target.value), beside).cast("i64"))
        factor = value.const(1.0) if weight is None else nest.load("weight", type_name(weight.value), along).cast(wide)
        chosen = writer.reduce("sum", where(hit, value, 0.0))
        weighed = writer.reduce("sum", where(hit, factor, 0.0))
        hits = writer.reduce("sum", hit.cast("i64"))
    with writer.row():
        bad = hits.eq(0)
        if ignored_class is not None:
            ignored = nest.load("target", type_name(target.value), beside).cast("i64").eq(int(ignored_class))
            chosen, weighed, bad = where(ignored, 0.0, chosen), where(ignored, 0.0, weighed), bad & ~ignored
        nest.store("loss", stored, beside, (-chosen * weighed).cast(stored))
        nest.store("factor", wide, beside, weighed)
        nest.store("bad", "i64", beside, bad.cast("i64"))
    return nest.finish()


def _call(c: Lowering, bound: Bound, places: dict[str, Any], chunks: int, work: int) -> None:
    kernel: Any = bound.kernel
    arguments = {name: places[str(key)] for name, key in bound.arrays.items()}
    c.call_loop(kernel, **arguments, **bound.sizes, chunks=max(chunks, 1), cost=work * 1.0)
