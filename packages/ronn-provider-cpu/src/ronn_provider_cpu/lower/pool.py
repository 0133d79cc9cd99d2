"""MaxPool, AveragePool and the global ones, in float32, on plain planes and on blocked channels; MaxPool of bytes and
with indices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ronn.records import dataclass
from ronn_codegen.lower._copies import item, wanted
from ronn_codegen.templates.pool_sizes import scratch_width
from ronn_codegen.windows import Window, is_set
from ronn_provider_cpu.lowering import F32, I8, U8, Lowering, Operand, lower

_MODULE = "ronn_codegen.templates.pool"
_WINDOWS = "ronn_codegen.templates.windows"
_SHARES = 32  # at most, of a kernel that needs scratch for each


@lower("GlobalMaxPool")
@lower("GlobalAveragePool")
def global_pool(c: Lowering) -> None:
    x, y = _operands(c)
    c.require(len(x.shape) > 2, "no spatial axes")
    _whole(c, x, y, c.node.op == "GlobalMaxPool")


@lower("MaxPool")
@lower("AveragePool")
def pool(c: Lowering) -> None:
    maximum = c.node.op == "MaxPool"
    at = c.outputs[1] if len(c.outputs) > 1 else None
    located = maximum and (at is not None or wanted(c.inputs[0]).dtype in (I8, U8))
    x, y = (wanted(c.inputs[0]), c.outputs[0]) if located else _operands(c)
    spatial = x.shape[2:]
    c.require(1 <= len(spatial) <= 3, f"{len(spatial)} spatial axes")
    window = Window(
        spatial, c.attr("kernel_shape"), c.attr("strides"), c.attr("dilations"), c.attr("pads"), c.attr("auto_pad"),
        c.attr("ceil_mode"),
    )  # fmt: skip
    c.require(all(b >= 0 and e >= 0 for b, e in window.pads), "negative pads")
    made = wanted(y if y is not None else at)
    c.require(made.shape[2:] == tuple(window.sizes), "the output has another size than the windows")
    if located:
        _located(c, x, y, at, window)
        return
    y = wanted(y)
    if tuple(window.kernel) == spatial and not any(map(any, window.pads)) and y.size == x.shape[0] * x.shape[1]:
        _whole(c, x, y, maximum)
        return
    include = not maximum and is_set(c.attr("count_include_pad"))
    axes = [
        _Axis(size, out, kernel, stride, dilation, before, after, include)
        for size, out, kernel, stride, dilation, (before, after) in zip(
            spatial, window.sizes, window.kernel, window.strides, window.dilations, window.pads, strict=True
        )
    ]
    lanes = c.machine.target.lanes(32)
    if len(axes) == 3 and axes[2].is_trivial and spatial[2] == lanes:
        _blocked(c, x, y, axes[:2], maximum)
    else:
        _plain(c, x, y, axes, maximum, lanes)


def _located(c: Lowering, x: Operand, y: Operand | None, at: Operand | None, window: Window) -> None:
    """Maxima with their places, or of bytes."""
    c.require(x.dtype in (F32, I8, U8), f"maxima of {x.dtype} with indices")
    size = math.prod(window.sizes) * x.shape[0] * x.shape[1]
    dims = [(1, 1, 1, 1, 1, 0)] * (3 - len(window.sizes)) + [
        (n, out, k, stride, dilation, before)
        for n, out, k, stride, dilation, (before, _) in zip(
            x.shape[2:], window.sizes, window.kernel, window.strides, window.dilations, window.pads, strict=True
        )
    ]
    c.call(
        _WINDOWS, "max_pool_at", x=x, y=c.temp(size * item(x)) if y is None else y, at=0 if at is None else at,
        kind=(F32, I8, U8).index(x.dtype), planes=x.shape[0] * x.shape[1], table=np.array(dims, np.int64),
        columns=int(is_set(c.attr("storage_order"))), chunks=size, cost=size * math.prod(window.kernel) * 2.0,
        bytes=x.nbytes,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Axis:
    """The windows along one axis. ``include``: padding counts as elements."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    include: bool

    @property
    def is_trivial(self) -> bool:
        """Whether every window is one element."""
        return (self.kernel, self.stride, self.before, self.after) == (1, 1, 0, 0)

    @property
    def counts(self) -> np.ndarray:
        """``f32[out]``: the elements of each window, at least 1."""
        at = np.arange(self.out)[:, None] * self.stride + np.arange(self.kernel) * self.dilation - self.before
        first, last = (-self.before, self.size + self.after) if self.include else (0, self.size)
        return np.maximum(((at >= first) & (at < last)).sum(1), 1).astype(np.float32)


def _operands(c: Lowering) -> tuple[Operand, Operand]:
    x, y = c.inputs[0], c.outputs[0]
    c.require(y is not None, "only the indices are wanted")
    assert x is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    return x, y


def _whole(c: Lowering, x: Operand, y: Operand, maximum: bool) -> None:
    planes, size = math.prod(x.shape[:2]), math.prod(x.shape[2:])
    c.call(
        _MODULE, "global_max_f32" if maximum else "global_average_f32", x=x, y=y, planes=planes, size=size,
        chunks=planes, cost=100 + planes * 5 + x.size / 10, flops=x.size, bytes=x.nbytes + y.nbytes,
    )  # fmt: skip


def _blocked(c: Lowering, x: Operand, y: Operand, axes: Sequence[_Axis], maximum: bool) -> None:
    h, w = axes
    planes, taps = x.shape[0] * x.shape[1], h.kernel * w.kernel
    c.call(
        _MODULE, "max_pool_blocked_f32" if maximum else "average_pool_blocked_f32", x=x, y=y, planes=planes,
        h=h.size, w=w.size, oh=h.out, ow=w.out, kh=h.kernel, kw=w.kernel, sh=h.stride, sw=w.stride,
        dh=h.dilation, dw=w.dilation, ph=h.before, pw=w.before, rows_in=h.counts, columns_in=w.counts,
        chunks=planes * h.out, cost=100 + y.size * (1 + taps) / 14, flops=y.size * taps, bytes=x.nbytes + y.nbytes,
    )  # fmt: skip


def _plain(c: Lowering, x: Operand, y: Operand, axes: Sequence[_Axis], maximum: bool, lanes: int) -> None:
    one = _Axis(1, 1, 1, 1, 1, 0, 0, False)
    d, h, w = (*(one,) * (3 - len(axes)), *axes)
    planes = x.shape[0] * x.shape[1]
    width = scratch_width(w.size, w.out, w.kernel, w.stride, w.dilation, w.before, lanes)
    rows = planes * d.out * h.out
    shares = min(rows, _SHARES)
    taps = d.kernel * h.kernel * w.kernel
    work = rows * (d.kernel * h.kernel * w.size + w.kernel * w.out)
    c.call(
        _MODULE, "max_pool_f32" if maximum else "average_pool_f32", x=x, y=y, scratch=c.temp(4 * shares * width),
        planes=planes, d=d.size, h=h.size, w=w.size, od=d.out, oh=h.out, ow=w.out, kd=d.kernel, kh=h.kernel,
        kw=w.kernel, sd=d.stride, sh=h.stride, sw=w.stride, dd=d.dilation, dh=h.dilation, dw=w.dilation,
        pd=d.before, ph=h.before, pw=w.before, planes_in=d.counts, rows_in=h.counts, columns_in=w.counts, width=width,
        chunks=shares, cost=100 + rows * 10 + work / 10, flops=y.size * taps, bytes=x.nbytes + y.nbytes,
    )  # fmt: skip
