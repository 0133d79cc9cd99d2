"""Operators on quantised bytes, elementwise: QLinearAdd, QLinearMul and others of com.microsoft, DynamicQuantizeLinear.

Of one operand, a byte has 256 values: such operators are tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn_codegen.lower import _quantised as q
from ronn_codegen.lower._copies import emit, steps
from ronn_codegen.lowering import I8, U8, Lowering, Operand
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import Copies, Side

MS = "com.microsoft"
Array = np.ndarray


def _given(c: Lowering, index: int) -> Operand:
    found = c.input(index)
    assert found is not None
    return found


def _output(c: Lowering) -> Operand:
    y = c.outputs[0]
    assert y is not None
    return y


def _zero(c: Lowering, index: int, dtype: np.dtype) -> int:
    """A zero point as that of unsigned bytes."""
    if c.input(index) is None:
        return 128 if dtype == I8 else 0
    return q.unsigned_zero(q.fixed_number(c, index, "a zero point"))


def _scale(c: Lowering, index: int) -> np.float32:
    return np.float32(q.fixed_number(c, index, "a scale"))


# --- two operands


@lower("QLinearAdd", domain=MS)
@lower("QLinearMul", domain=MS)
def binary(c: Lowering) -> None:
    a, b, y = _given(c, 0), _given(c, 3), _output(c)
    a_zero, b_zero, out = (_zero(c, i, a.dtype) for i in (2, 5, 7))
    a_scale, b_scale, y_scale = (_scale(c, i) for i in (1, 4, 6))
    product = c.node.op == "QLinearMul"
    swapped = a.shape != y.shape
    if swapped:
        a, b, a_zero, b_zero, a_scale, b_scale = b, a, b_zero, a_zero, b_scale, a_scale
    c.require(a.shape == y.shape, "both operands are broadcast")
    rows, n, period, row, step = _broadcast(c, b.shape, y.shape)
    if product:
        gain, other, bias = a_scale * b_scale / y_scale, np.float32(0), np.float32(0)
    else:
        gain, other = a_scale / y_scale, b_scale / y_scale
        bias = -(gain * np.float32(a_zero) + other * np.float32(b_zero))
    low, high = float(-out), float(255 - out)
    c.inplace(3 if swapped else 0)
    c.call(
        q.QUANTIZE, "int8_binary", a=a, b=b, y=y, rows=rows, n=n, b_period=period, b_row=row, b_step=step,
        product=int(product), a_zero=a_zero, b_zero=b_zero, a_gain=float(gain), b_gain=float(other), bias=float(bias),
        low=low, high=high, out_zero=out, flip=128 if a.dtype == I8 else 0, chunks=max(1, y.size // 4096),
        cost=50 + y.size / 8, bytes=3 * y.size,
    )  # fmt: skip


def _broadcast(c: Lowering, small: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    """(rows, n, period, row, step): the second operand over rows of n elements of the first."""
    small = (1,) * (len(full) - len(small)) + small
    end = len(full)
    step = 1 if end and small[-1] == full[-1] and full[-1] != 1 else 0
    inner = end
    while inner > 0 and (small[inner - 1] == full[inner - 1] if step else small[inner - 1] == 1):
        inner -= 1
    outer = inner
    while outer > 0 and small[outer - 1] == full[outer - 1]:
        outer -= 1
    c.require(all(d == 1 for d in small[:outer]), f"{small} is broadcast over {full}")
    n = math.prod(full[inner:])
    return math.prod(full[:inner]), n, math.prod(small[outer:inner]), n if step else 1, step


# --- tables


def _table(fn: Callable[[Array], Array], x: Operand, scale: Any, zero: Array, y_scale: Any, y_zero: Array) -> Array:
    """The bytes that ``fn`` on real values makes of each byte."""
    values = np.arange(256, dtype=np.uint8).view(x.dtype)
    given = (values.astype(np.float32) - zero.astype(np.float32)) * np.float32(scale)
    info = np.iinfo(y_zero.dtype)
    with np.errstate(all="ignore"):  # a scale of 0; sigmoids far out
        made = np.rint(fn(given) / np.float32(y_scale)) + y_zero.astype(np.float32)
    return np.nan_to_num(np.clip(made, info.min, info.max), nan=info.min).astype(y_zero.dtype).view(np.uint8)


def _unary(c: Lowering, fn: Callable[[Array], Array]) -> None:
    x, y = _given(c, 0), _output(c)
    c.require(x.dtype in (I8, U8), "only bytes")
    zeros = [np.zeros((), x.dtype) if c.input(i) is None else q.fixed_number(c, i, "a zero point") for i in (2, 4)]
    table = _table(fn, x, _scale(c, 1), zeros[0], _scale(c, 3), zeros[1])
    c.inplace(0)
    q.lut(c, x, y, x.size, table)


@lower("QLinearSigmoid", domain=MS)
def qlinear_sigmoid(c: Lowering) -> None:
    _unary(c, lambda v: 1 / (1 + np.exp(-v)))


@lower("QLinearLeakyRelu", domain=MS)
def qlinear_leaky_relu(c: Lowering) -> None:
    alpha = np.float32(c.attr("alpha", 0.01))
    _unary(c, lambda v: np.where(v >= 0, v, v * alpha))


@lower("QLinearConcat", domain=MS)
def qlinear_concat(c: Lowering) -> None:
    y, inputs = _output(c), c.inputs
    y_scale, y_zero = q.fixed_number(c, 0, "a scale"), q.fixed_number(c, 1, "a zero point")
    axis = int(c.attr("axis"))
    axis += y.rank if axis < 0 else 0
    copies, at = Copies(), 0
    places: list[Any] = []
    to = steps(y)
    for i in range(2, len(inputs), 3):
        x = _given(c, i)
        scale, zero = q.fixed_number(c, i + 1, "a scale"), q.fixed_number(c, i + 2, "a zero point")
        source: Any = x
        if (scale, zero, zero.dtype) != (y_scale, y_zero, y_zero.dtype):
            source = c.temp(x.size)
            q.lut(c, x, source, x.size, _table(lambda v: v, x, scale, zero, y_scale, y_zero))
        copies.add(x.shape, 1, Side(len(places), 0, steps(x)), Side(8, at * to[axis], to))
        places.append(source)
        at += x.shape[axis]
    c.require(len(places) <= 8, "more than 8 inputs")
    emit(c, copies, [*places, *[q.NOTHING] * (8 - len(places)), y])


@lower("QLinearSoftmax", domain=MS)
def qlinear_softmax(c: Lowering) -> None:
    x, y = _given(c, 0), _output(c)
    axis = int(c.attr("axis"))
    axis += x.rank if axis < 0 else 0
    c.require(int(c.attr("opset")) < 13 or axis == x.rank - 1, "another axis than the last")
    n = math.prod(x.shape[axis:])
    out = q.fixed_number(c, 4, "a zero point")
    distance = np.arange(256, dtype=np.float32) * -_scale(c, 1)
    low, high = (-128, 127) if out.dtype == I8 else (0, 255)
    c.inplace(0)
    c.call(
        q.QUANTIZE, "int8_softmax", x=x, y=y, rows=x.size // n, n=n, table=np.exp(distance), scale=float(_scale(c, 3)),
        zero=int(out), low=low, high=high, flip=128 if x.dtype == I8 else 0, chunks=x.size // n, cost=x.size * 4,
    )  # fmt: skip


@lower("DynamicQuantizeLinear")
def dynamic_quantize_linear(c: Lowering) -> None:
    """DynamicQuantizeLinear."""
    x = _given(c, 0)
    y, scale, zero = (o if o is not None else c.temp(max(x.size, 4)) for o in (*c.outputs, None, None)[:3])
    q.quantise_dynamically(c, x, scale, zero)
    c.call(
        q.QUANTIZE, "quantize_u8", x=x, y=y, rows=1, k=x.size, pitch=x.size, scale_at=scale, zero_at=zero,
        chunks=max(1, x.size // 4096), cost=50 + x.size / 6, bytes=5 * x.size,
    )  # fmt: skip
