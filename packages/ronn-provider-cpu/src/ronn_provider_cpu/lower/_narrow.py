"""Convolutions with few output channels, whose vectors run along rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ronn.ops.fused import ACTIVATION_ARITY
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.conv_plan import ConvShape
from ronn_codegen.templates.narrow_plan import NarrowPlan, NarrowShape, copy_time, narrow_time
from ronn_provider_cpu.lowering import Argument, Lowering, Operand

_MODULE = "ronn_codegen.templates.conv_narrow"
_PIECES = 16  # of a row, at most


def narrow_shape(shape: ConvShape) -> NarrowShape | None:
    """The shape for narrow tiles; None for a convolution with groups or three spatial dims."""
    if shape.group != 1 or shape.size[0] != 1 or shape.kernel[0] != 1 or shape.pads[0] or shape.pads[3]:
        return None
    if min(shape.pads) < 0:
        return None
    _, top, left, _, bottom, right = shape.pads
    return NarrowShape(
        shape.n, shape.c, shape.k, (shape.size[1], shape.size[2]), (shape.kernel[1], shape.kernel[2]),
        (shape.strides[1], shape.strides[2]), (top, left, bottom, right), (shape.dilations[1], shape.dilations[2]),
    )  # fmt: skip


def narrow_conv(
    c: Lowering, shape: NarrowShape, x: Operand, w: Operand, bias: Operand | None, y: Argument, activation: str,
    params: Sequence[float],
) -> None:  # fmt: skip
    """``y[N, K, OH, OW]`` of ``x[N, C, H, W]``."""
    target = c.machine.target
    plan = NarrowPlan(shape, target)
    c.require(activation in ACTIVATION_ARITY, f"activation {activation!r}")
    c.require(len(params) >= ACTIVATION_ARITY[activation], f"{activation} without its parameters")
    mode, p0, p1 = mode_of(activation, params)
    packed = c.packed(w, ("narrow conv", tuple(plan.groups)), plan.pack)
    if bias is None:
        start = np.zeros(shape.k, np.float32)
    else:
        c.require(bias.data is not None, "the bias is not a constant")
        start = c.packed(bias, ("narrow bias",), np.ascontiguousarray)
    source: Argument = x
    planes, (high, wide) = shape.n * shape.c, shape.out
    if not plan.in_place:
        source = c.temp(4 * planes * plan.plane)
        c.call(
            _MODULE, "narrow_copy_f32", x=x, z=source, planes=planes, h=shape.size[0], w=shape.size[1], rows=plan.rows,
            columns=plan.columns, phases=shape.strides[1], top=shape.pads[0], left=shape.pads[1],
            chunks=planes * plan.rows, cost=100 + copy_time(shape), bytes=x.nbytes + 4 * planes * plan.plane,
        )  # fmt: skip
    pieces = max(1, min(_PIECES // (shape.n * high), wide // plan.widest))
    table, taps = plan.table, plan.taps
    c.call(
        _MODULE, "narrow_conv_f32", x=source, w=packed, bias=start, y=y, n=shape.n, c=shape.c,
        x_image=shape.c * plan.plane, row=plan.row, plane=plan.plane, table=table, groups=len(table), taps=taps,
        tap_count=len(taps), oh=high, ow=wide, stride=shape.strides[0], k=shape.k, pieces=pieces, mode=mode, p0=p0,
        p1=p1, chunks=shape.n * high * pieces, cost=100 + narrow_time(shape, plan.lanes) - copy_time(shape),
        flops=shape.flops, bytes=x.nbytes + 4 * shape.n * shape.k * high * wide,
    )  # fmt: skip
