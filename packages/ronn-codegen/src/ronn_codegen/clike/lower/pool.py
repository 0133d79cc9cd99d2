"""Pools of any rank: MaxPool, AveragePool, LpPool, the global ones, and those of bytes of com.microsoft."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_codegen.clike.lower.conv import KINDS, launch
from ronn_codegen.clike.table import lower
from ronn_codegen.clike.templates.pool import Pool, pool_kernel
from ronn_codegen.lowering import F16, F32, F64, I8, U8, Lowering, Operand
from ronn_codegen.windows import Window, is_set

MS = "com.microsoft"
_FLOATS = (F16, F32, F64)


def _window(c: Lowering, spatial: tuple[int, ...]) -> Window:
    """The windows of a node. Refused where padding is negative."""
    found = Window(
        spatial, c.attr("kernel_shape"), c.attr("strides"), c.attr("dilations"), c.attr("pads"), c.attr("auto_pad"),
        c.attr("ceil_mode"),
    )  # fmt: skip
    c.require(all(b >= 0 and e >= 0 for b, e in found.pads), "negative pads")
    return found


def _whole(spatial: tuple[int, ...]) -> Window:
    return Window(spatial, spatial, None, None, None, None, None)


def _pool(
    c: Lowering, what: str, x: Operand, y: Any, window: Window, *, last: bool = False, at: Operand | None = None,
    **more: Any,
) -> None:  # fmt: skip
    """Calls a pool of ``x``; ``y`` may be scratch."""
    spatial, channels = (x.shape[1:-1], x.shape[-1]) if last else (x.shape[2:], x.shape[1])
    c.require(len(spatial) >= 1, "no spatial axes")
    c.require(x.dtype != F64 or c.machine.doubles, "the device has no float64")
    dims = np.array(
        [
            (n, out, k, s, d, before, after)
            for n, out, k, s, d, (before, after) in zip(
                spatial, window.sizes, window.kernel, window.strides, window.dilations, window.pads, strict=True
            )
        ],
        np.int64,
    )
    count = x.shape[0] * channels * math.prod(window.sizes)
    arguments = dict(more) if at is None else {"at": at, **more}
    form = Pool(what, len(spatial), KINDS[x.dtype], last, at is not None)
    launch(
        c, pool_kernel(form), x=x, y=y, dims=dims, channels=channels, count=count, **arguments,
        flops=count * math.prod(window.kernel), bytes=x.nbytes + count * x.dtype.itemsize,
    )  # fmt: skip


def _operands(c: Lowering, types: tuple[Any, ...]) -> tuple[Operand, Operand | None]:
    x = c.inputs[0]
    assert x is not None
    c.require(x.dtype in types, f"pools of {x.dtype}")
    return x, c.outputs[0]


def _fits(c: Lowering, made: Operand | None, window: Window, last: bool = False) -> None:
    assert made is not None
    spatial = made.shape[1:-1] if last else made.shape[2:]
    c.require(spatial == tuple(window.sizes), "the output has another size than the windows")


@lower("MaxPool")
def max_pool(c: Lowering) -> None:
    """MaxPool, with the places of maxima where they are wanted."""
    x, y = _operands(c, (*_FLOATS, I8, U8))
    at = c.outputs[1] if len(c.outputs) > 1 else None
    window = _window(c, x.shape[2:])
    _fits(c, y if y is not None else at, window)
    size = x.shape[0] * x.shape[1] * math.prod(window.sizes) * x.dtype.itemsize
    _pool(c, "max", x, c.temp(size) if y is None else y, window, at=at, columns=int(is_set(c.attr("storage_order"))))


@lower("AveragePool")
def average_pool(c: Lowering) -> None:
    """AveragePool."""
    x, y = _operands(c, _FLOATS)
    window = _window(c, x.shape[2:])
    _fits(c, y, window)
    _pool(c, "average", x, y, window, padded=int(is_set(c.attr("count_include_pad"))))


@lower("LpPool")
def lp_pool(c: Lowering) -> None:
    """LpPool: padding counts as zeros."""
    x, y = _operands(c, _FLOATS)
    window = _window(c, x.shape[2:])
    _fits(c, y, window)
    _pool(c, "norm", x, y, window, p=float(c.attr("p", 2)))


@lower("GlobalMaxPool")
@lower("GlobalAveragePool")
@lower("GlobalLpPool")
def global_pool(c: Lowering) -> None:
    """GlobalMaxPool, GlobalAveragePool and GlobalLpPool: one window a plane."""
    x, y = _operands(c, _FLOATS)
    if c.node.op == "GlobalMaxPool":
        _pool(c, "max", x, y, _whole(x.shape[2:]), columns=0)
    elif c.node.op == "GlobalAveragePool":
        _pool(c, "average", x, y, _whole(x.shape[2:]), padded=0)
    else:
        _pool(c, "norm", x, y, _whole(x.shape[2:]), p=float(c.attr("p", 2)))


@lower("NhwcMaxPool", domain=MS)
def nhwc_max_pool(c: Lowering) -> None:
    """NhwcMaxPool of com.microsoft."""
    x, y = _operands(c, (I8, U8))
    window = _window(c, x.shape[1:-1])
    _fits(c, y, window, last=True)
    _pool(c, "max", x, y, window, last=True, columns=0)


def _quantised(c: Lowering, whole: bool) -> None:
    x, y = _operands(c, (I8, U8))
    last = is_set(c.attr("channels_last"))
    spatial = x.shape[1:-1] if last else x.shape[2:]
    window = _whole(spatial) if whole else _window(c, spatial)
    _fits(c, y, window, last)
    x_scale, x_zero, y_scale, y_zero = (c.input(i) for i in range(1, 5))
    for given in (x_scale, x_zero, y_scale, y_zero):
        c.require(given is None or given.size == 1, "several scales or zero points of one tensor")
    c.require(math.prod(window.kernel) < 2**22, "windows of 2**22 elements")
    padded = 0 if whole else int(is_set(c.attr("count_include_pad")))
    _pool(
        c, "average", x, y, window, last=last, padded=padded, x_scale=x_scale, y_scale=y_scale,
        x_zero=0 if x_zero is None else x_zero, y_zero=0 if y_zero is None else y_zero,
    )  # fmt: skip


@lower("QLinearAveragePool", domain=MS)
def qlinear_average_pool(c: Lowering) -> None:
    """QLinearAveragePool of com.microsoft."""
    _quantised(c, whole=False)


@lower("QLinearGlobalAveragePool", domain=MS)
def qlinear_global_average_pool(c: Lowering) -> None:
    """QLinearGlobalAveragePool of com.microsoft."""
    _quantised(c, whole=True)
