"""Convolutions with few output channels, whose vectors run along rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np

from ronn.ops.fused import ACTIVATION_ARITY
from ronn.records import dataclass
from ronn_codegen.lower._copies import emit
from ronn_codegen.simd.modes import mode_of
from ronn_codegen.templates.conv_plan import ConvShape
from ronn_codegen.templates.jobs import Copies, Side, contiguous
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


class Arrange(Protocol):
    """How weights and bias lie before they are packed."""

    @property
    def key(self) -> Hashable: ...

    def weights(self, given: np.ndarray) -> np.ndarray: ...

    def bias(self, given: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Upsampling:
    """The weights ``[C, K, R, S]`` of a transposed convolution as those of a pointwise one of ``K * R * S`` outputs."""

    taps: int

    @property
    def key(self) -> Hashable:
        return ("upsampling", self.taps)

    def weights(self, given: np.ndarray) -> np.ndarray:
        return given.reshape(len(given), -1).T.reshape(-1, len(given), 1, 1)

    def bias(self, given: np.ndarray) -> np.ndarray:
        return np.repeat(given, self.taps)


def upsample(c: Lowering, shape: NarrowShape, kernel: tuple[int, int], x: Operand, w: Operand, bias: Operand | None,
             y: Operand) -> None:  # fmt: skip
    """A transposed convolution whose windows do not overlap; ``shape`` is that of ``narrow_plan.upsampling``."""
    (r, s), (h, wide) = kernel, shape.size
    k = shape.k // (r * s)
    made = c.temp(4 * shape.n * shape.k * h * wide)
    narrow_conv(c, shape, x, w, bias, made, "", (), Upsampling(r * s))
    boxes, plane = (shape.n, k, h, r, wide, s), 4 * h * wide
    source = (plane * shape.k, plane * r * s, 4 * wide, plane * s, 4, plane)
    copies = Copies()
    copies.add(boxes, 4, Side(0, 0, source), Side(1, 0, contiguous(boxes, 4)))
    emit(c, copies, [made, y])


def narrow_conv(
    c: Lowering, shape: NarrowShape, x: Operand, w: Operand, bias: Operand | None, y: Argument, activation: str,
    params: Sequence[float], arrange: Arrange | None = None,
) -> None:  # fmt: skip
    """``y[N, K, OH, OW]`` of ``x[N, C, H, W]``. ``arrange`` makes ``[K, C, R, S]`` and ``[K]`` of weights and bias."""
    target = c.machine.target
    plan = NarrowPlan(shape, target)
    c.require(activation in ACTIVATION_ARITY, f"activation {activation!r}")
    c.require(len(params) >= ACTIVATION_ARITY[activation], f"{activation} without its parameters")
    mode, p0, p1 = mode_of(activation, params)
    key = ("narrow conv", tuple(plan.groups), None if arrange is None else arrange.key)
    packed = c.packed(w, key, plan.pack if arrange is None else lambda v: plan.pack(arrange.weights(v)))
    if bias is None:
        start = np.zeros(shape.k, np.float32)
    else:
        c.require(bias.data is not None, "the bias is not a constant")
        start = c.packed(bias, key, np.ascontiguousarray if arrange is None else arrange.bias)
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
