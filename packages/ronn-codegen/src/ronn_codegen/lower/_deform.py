"""The columns of DeformConv, which a matrix product takes."""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lower._copies import wanted
from ronn_codegen.lowering import F32, Lowering, Operand, Temporary

_PIXELS = 32  # those of the kernel
_SHARES = 16


@dataclass(frozen=True)
class Columns:
    """The product that makes the result: weights[groups, rows, k] by columns[images, groups, k, positions]."""

    weights: Operand
    columns: Temporary
    bias: Operand | None
    result: Operand
    images: int
    groups: int
    rows: int
    k: int
    positions: int


def columns(c: Lowering) -> Columns:
    """Calls the kernel that makes the columns of a DeformConv of two spatial dims."""
    x, w, offset, y = (wanted(v) for v in (*c.inputs[:3], c.outputs[0]))
    bias, mask = c.input(3), c.input(4)
    c.require(x.dtype == F32, "only float32")
    c.require(x.rank == 4, f"{x.rank - 2} spatial dims")
    n, channels, h, wide = x.shape
    filters, per_group, kh, kw = w.shape
    groups, parts = int(c.attr("group", 1)), int(c.attr("offset_group", 1))
    c.require(bias is None or groups == 1, "a bias and several groups")
    down, across = y.shape[2:]
    strides, dilations = c.attr("strides", [1, 1]), c.attr("dilations", [1, 1])
    table = [h, wide, kh, kw, down, across, *strides, *dilations, *c.attr("pads", [0, 0])[:2]]
    taps, positions = kh * kw, down * across
    moved = (n, 2 * parts * taps, down, across)
    c.require(offset.shape == moved, f"offsets of shape {offset.shape} for {moved}")
    c.require(mask is None or mask.shape == (n, parts * taps, down, across), "a mask that does not fit")
    c.require(channels == per_group * groups and filters % groups == 0 and channels % parts == 0, "groups do not fit")
    c.require(bias is None or bias.shape == (filters,), "a bias that does not fit")
    shares = min(n * parts * taps * -(-positions // _PIXELS), _SHARES)
    made = c.temp(4 * n * channels * taps * positions)
    c.call(
        "ronn_codegen.templates.deform", "deform_columns", x=x, offset=offset, mask=0 if mask is None else mask,
        y=made, room=c.temp(1024 * shares), batches=n, channels=channels, parts=parts,
        table=np.array(table, np.int64), chunks=shares, cost=n * taps * positions * (30 * parts + 3.0 * channels),
        bytes=x.nbytes + made.nbytes,
    )  # fmt: skip
    return Columns(w, made, bias, y, n, groups, filters // groups, per_group * taps, positions)
