"""DynamicQuantizeLSTM with the default activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn_codegen.templates.recurrent_layout import Cells, cells_of
from ronn_codegen.windows import is_set
from ronn_provider_cpu.lower import _int8 as q
from ronn_provider_cpu.lowering import Lowering, Operand, lower

Array = np.ndarray


@lower("DynamicQuantizeLSTM", domain="com.microsoft")
def dynamic_quantize_lstm(c: Lowering) -> None:
    x, w, r, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and w is not None and r is not None
    direction = str(c.attr("direction", "forward")).lower()
    directions = 2 if direction == "bidirectional" else 1
    names = c.attr("activations")
    plain = not names or [n.lower() for n in names] == ["sigmoid", "tanh", "tanh"] * directions
    c.require(plain and not c.attr("clip") and not is_set(c.attr("input_forget")), "other than the plain cell")
    c.require(c.input(7) is None, "peepholes")
    (steps, batch, inputs), hidden = x.shape, r.shape[1]
    c.require(w.shape == (directions, inputs, 4 * hidden), f"weights of shape {w.shape}")
    cells = cells_of(c.machine.target, 4)
    panels = cells.panels(hidden)
    n, width = panels * 4 * cells.units, panels * cells.units
    bias = None if c.input(3) is None else q.fixed(c, 3, "the bias").reshape(directions, 8 * hidden)
    project = [_side(c, w, 8, 9, d, cells) for d in range(directions)]
    recur = [_side(c, r, 10, 11, d, cells) for d in range(directions)]

    scale, zero, rows = c.temp(4), c.temp(1), steps * batch
    pitch = -(-inputs // 4) * 4
    left = c.temp(rows * pitch + q.SLACK)
    gates = c.temp(4 * directions * rows * n)
    q.quantise_dynamically(c, x, scale, zero)
    c.call(
        q.QUANTIZE, "quantize_u8", x=x, y=left, rows=rows, k=inputs, pitch=pitch, scale_at=scale, zero_at=zero,
        chunks=rows, cost=50 + x.size / 6, bytes=5 * x.size,
    )  # fmt: skip
    for d, (right, factor) in enumerate(project):
        added: Any = 0
        if bias is not None:
            added = _spread(bias[d, : 4 * hidden] + bias[d, 4 * hidden :], cells)
        q.to_words(
            c, q.Left(left, q.matrix_table(rows, pitch), rows, k=inputs), right, gates.at(4 * d * rows * n), 4 * n,
            zero_at=zero, scale=factor, factor_at=scale, bias=added,
        )  # fmt: skip
    apart = 8 * batch * width + -(-batch * width // 64) * 64 + 4 * n + q.SLACK
    apart = -(-apart // 64) * 64
    first, last = recur[0], recur[-1]
    none = np.zeros(max(n, 64), np.int32)
    operations = 2 * directions * rows * hidden * n
    c.call(
        "ronn_codegen.templates.int8_lstm", "int8_lstm", x=gates, steps=steps, batch=batch, directions=directions,
        backwards={"forward": 0, "reverse": 1, "bidirectional": 2}[direction], hidden=hidden, panels=panels,
        r0=first[0].packed, r1=last[0].packed, colsum0=first[0].column(first[0].sums, np.int32),
        colsum1=last[0].column(last[0].sums, np.int32), scale0=first[1], scale1=last[1], none=none,
        lengths=_or_zero(_lengths(c, steps)), h0=_or_zero(c.input(5)), c0=_or_zero(c.input(6)), y=_or_zero(y),
        yh=_or_zero(_wanted(c, 1)), yc=_or_zero(_wanted(c, 2)), scratch=c.temp(apart * directions), apart=apart,
        chunks=directions, cost=operations / 100 + rows * directions * (100 + width), flops=operations,
    )  # fmt: skip


def _lengths(c: Lowering, steps: int) -> Operand | None:
    given = c.input(4)
    return None if given is None or (given.data is not None and bool((given.data == steps).all())) else given


def _or_zero(given: Operand | None) -> Operand | int:
    return 0 if given is None else given


def _wanted(c: Lowering, index: int) -> Operand | None:
    return c.outputs[index] if index < len(c.outputs) else None


def _spread(values: Array, cells: Cells) -> Array:
    """Columns [..., 4 * hidden] in the order of panels [..., panels * 4 * units]."""
    lead, hidden = values.shape[:-1], values.shape[-1] // 4
    panels = cells.panels(hidden)
    wide = np.zeros((*lead, 4, panels * cells.units), values.dtype)
    wide[..., :hidden] = values.reshape(*lead, 4, hidden)
    return np.moveaxis(wide.reshape(*lead, 4, panels, cells.units), -2, -3).reshape(*lead, -1)


def _side(c: Lowering, w: Operand, scale: int, zero: int, d: int, cells: Cells) -> tuple[q.Right, Array]:
    """The packed weights of one direction, and the scale of each column."""
    directions, columns = w.shape[0], w.shape[2]
    scales = q.fixed(c, scale, "a scale").reshape(directions, -1)
    zeros = None if c.input(zero) is None else q.fixed(c, zero, "a zero point").reshape(directions, 1, -1)
    right = q.weights(c, w, ("lstm", d, cells), lambda v: _spread(v[d], cells)[None], zeros)
    c.require(right.parts == 1, "the weights' zero points are out of reach")
    each = np.ascontiguousarray(np.broadcast_to(scales[d], (columns,)), np.float32)
    return right, right.column(_spread(each, cells), np.float32)
