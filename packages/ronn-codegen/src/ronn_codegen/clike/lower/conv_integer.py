"""QLinearConv and ConvInteger: convolutions of bytes, summed in int32 (``clike.templates.conv``, or
``depthwise``)."""

from __future__ import annotations

from typing import Any

from ronn_codegen.clike.lower.conv import convolve, depthwise, takes_depthwise, windows
from ronn_codegen.clike.table import lower
from ronn_codegen.lowering import F32, I8, U8, Lowering, Operand

_BYTES = (I8, U8)


def _zero(c: Lowering, index: int, rows: int, what: str) -> Operand | None:
    """A zero point: of one element, or of ``rows``."""
    zero = c.input(index)
    c.require(zero is None or zero.size in (1, rows), f"zero points of {what} that do not fit")
    return zero


@lower("QLinearConv")
def qlinear_conv(c: Lowering) -> None:
    """QLinearConv: scales and zero points may be computed, those of the weights be one of each channel."""
    x, x_scale, _, w, w_scale, _, y_scale, y_zero, bias = (c.input(i) for i in range(9))
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None and y_scale is not None
    assert x_scale is not None and w_scale is not None and y_zero is not None
    c.require(x.dtype in _BYTES and w.dtype in _BYTES and y.dtype in _BYTES, "no bytes")
    c.require({x_scale.dtype, w_scale.dtype, y_scale.dtype} == {F32}, "scales that are not float32")
    c.require(x_scale.size == y_scale.size == y_zero.size == 1, "several scales of one tensor")
    c.require(w_scale.size in (1, w.shape[0]), f"scales of shape {w_scale.shape}")
    zeros = _zero(c, 2, 1, "the input"), _zero(c, 5, w.shape[0], "the weights")
    scales = {
        "x_scale": x_scale, "w_scale": w_scale, "w_step": int(w_scale.size > 1), "y_scale": y_scale, "y_zero": y_zero,
    }  # fmt: skip
    _convolve(c, x, w, bias, y, zeros, scales)


@lower("ConvInteger")
def conv_integer(c: Lowering) -> None:
    """ConvInteger: int32 sums."""
    x, w = c.input(0), c.input(1)
    y = c.outputs[0]
    assert x is not None and w is not None and y is not None
    c.require(x.dtype in _BYTES and w.dtype in _BYTES, "no bytes")
    zeros = _zero(c, 2, 1, "the input"), _zero(c, 3, w.shape[0], "the weights")
    _convolve(c, x, w, None, y, zeros, {})


def _convolve(
    c: Lowering, x: Operand, w: Operand, bias: Operand | None, y: Operand, zeros: tuple[Operand | None, Operand | None],
    scales: dict[str, Any],
) -> None:  # fmt: skip
    """The convolution; its sums become bytes where there are ``scales``."""
    found, finish = windows(c, x, w, y), "requantise" if scales else ""
    if not takes_depthwise(found):
        convolve(c, found, x, w, bias, y, activation=finish, scales=scales, zeros=zeros)
        return
    x_zero, w_zero = (0 if z is None else z for z in zeros)
    none = {"x_scale": 0, "w_scale": 0, "w_step": 0, "y_scale": 0, "y_zero": 0}
    step = int(zeros[1] is not None and zeros[1].size > 1)
    more = {"x_zero": x_zero, "w_zero": w_zero, "w_zero_step": step, **none, **scales}
    depthwise(c, found, x, w, bias, y, finish, more)
