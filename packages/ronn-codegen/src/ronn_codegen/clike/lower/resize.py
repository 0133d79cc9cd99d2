"""Resize and Upsample: two neighbouring axes at a time; elements that are only moved may have any type."""

from __future__ import annotations

from ronn_codegen.clike.lower.conv import KINDS, launch
from ronn_codegen.clike.table import lower
from ronn_codegen.clike.templates.resize import moved, weighted
from ronn_codegen.lower import _resize as shared
from ronn_codegen.lower._copies import item
from ronn_codegen.lower._resize import Axis
from ronn_codegen.lowering import F16, F32, F64, Argument, Lowering, Operand
from ronn_codegen.resizing import Settings


@lower("Resize", empty=True)
@lower("Upsample")
def resize(c: Lowering) -> None:
    """Resize and Upsample. Of the operands of Resize that are not used, some are given without elements."""
    x = c.inputs[0]
    assert x is not None
    c.require(x.size, "an input has no elements")
    if Settings(c).mode == "nearest":
        c.require(item(x) in (1, 2, 4, 8), f"elements of {item(x)} bytes")
        shared.resize(c, item(x), lambda *step: _moved(c, item(x), *step))
        return
    c.require(x.dtype in (F32, F16, F64), f"interpolation of {x.dtype}")
    c.require(x.dtype != F64 or c.machine.doubles, "the device has no float64")
    shared.resize(c, 8 if x.dtype == F64 else 4, lambda *step: _weighted(c, *step))


def _moved(c: Lowering, size: int, x: Argument, y: Argument, planes: int, h: Axis, w: Axis, inner: int) -> None:
    launch(
        c, moved(size), x=x, y=y, planes=planes, h=h.size, w=w.size, oh=h.out, ow=w.out, inner=inner,
        at_y=h.at.astype("int64").reshape(-1), at_x=w.at.astype("int64").reshape(-1),
        bytes=2 * size * planes * h.out * w.out * inner,
    )  # fmt: skip


def _weighted(c: Lowering, x: Argument, y: Argument, planes: int, h: Axis, w: Axis, inner: int) -> None:
    given = c.inputs[0]
    assert given is not None
    wide = "f64" if given.dtype == F64 else "f32"
    kinds = [KINDS[v.dtype] if isinstance(v, Operand) else wide for v in (x, y)]
    by = [a.weights.astype(F64 if wide == "f64" else F32).reshape(-1) for a in (h, w)]
    elements = planes * inner * h.out * w.out
    launch(
        c, weighted(*kinds), x=x, y=y, planes=planes, h=h.size, w=w.size, oh=h.out, ow=w.out, inner=inner,
        tall=h.taps, at_y=h.at.astype("int64").reshape(-1), by_y=by[0], wide=w.taps,
        at_x=w.at.astype("int64").reshape(-1), by_x=by[1], flops=2 * elements * h.taps * w.taps, bytes=8 * elements,
    )  # fmt: skip
