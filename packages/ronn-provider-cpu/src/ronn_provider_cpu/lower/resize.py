"""Resize and Upsample in float32: two neighbouring axes at a time, by tables made at compile time."""

from __future__ import annotations

import numpy as np

from ronn_codegen.lower import _resize as shared
from ronn_codegen.lower._resize import Axis
from ronn_provider_cpu.lowering import F32, Argument, Lowering, lower

_MODULE = "ronn_codegen.templates.resize"
_SHARES = 32  # at most, of a kernel that needs scratch for each


def _tables(axis: Axis, lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """``at`` and the weights, with room for a vector behind their ends."""
    flat = (axis.at.astype(np.int64), axis.weights.astype(np.float32))
    at, weights = (np.concatenate([a.reshape(-1), np.zeros(lanes, a.dtype)]) for a in flat)
    return at, weights


@lower("Resize")
@lower("Upsample")
def resize(c: Lowering) -> None:
    x = c.inputs[0]
    assert x is not None
    c.require(x.dtype == F32, "only float32")
    shared.resize(c, 4, lambda *step: _step(c, *step))


def _step(c: Lowering, x: Argument, y: Argument, planes: int, h: Axis, w: Axis, inner: int) -> None:
    lanes = c.machine.target.lanes(32)
    (at_y, by_y), (at_x, by_x) = _tables(h, lanes), _tables(w, lanes)
    rows, size = planes * h.out, 4 * planes * inner * (h.size * w.size + h.out * w.out)
    arguments = {
        "x": x, "y": y, "planes": planes, "h": h.size, "w": w.size, "oh": h.out, "ow": w.out,
        "tall": h.taps, "at_y": at_y, "by_y": by_y, "wide": w.taps, "at_x": at_x, "by_x": by_x,
    }  # fmt: skip
    if inner == 1:
        shares = min(rows, _SHARES)
        work = rows * (w.size * (h.taps if h.taps > 1 else 0) / 2 + 2 * w.out * w.taps)
        c.call(
            _MODULE, "resize_rows_f32", scratch=c.temp(4 * shares * w.size), chunks=shares, cost=100 + work / 4,
            flops=2 * rows * (w.size * h.taps + w.out * w.taps), bytes=size, **arguments,
        )  # fmt: skip
    else:
        pixels = rows * w.out
        work = pixels * -(-inner // lanes) * (1 + h.taps * w.taps)
        c.call(
            _MODULE, "resize_vectors_f32", inner=inner, chunks=rows, cost=100 + pixels + work / 2,
            flops=2 * pixels * inner * h.taps * w.taps, bytes=size, **arguments,
        )  # fmt: skip
