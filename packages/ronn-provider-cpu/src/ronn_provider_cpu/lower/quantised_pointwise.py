"""QLinearAdd, QLinearMul and other operators of com.microsoft on quantised bytes: elementwise, pools, concatenation.

Of one operand, a byte has 256 values: such operators are tables. Pools take pixels channels last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn_codegen.lower._copies import emit, steps
from ronn_codegen.templates.jobs import Copies, Side
from ronn_codegen.windows import Window, is_set
from ronn_provider_cpu.kernels._activations import sigmoid
from ronn_provider_cpu.kernels.contrib_quantised import quantise, real
from ronn_provider_cpu.lower import _int8 as q
from ronn_provider_cpu.lowering import I8, U8, Lowering, Operand, lower

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
    made = quantise(fn(real(values, scale, zero)), y_scale, y_zero, y_zero.dtype)
    return np.ascontiguousarray(made).view(np.uint8)


def _unary(c: Lowering, fn: Callable[[Array], Array]) -> None:
    x, y = _given(c, 0), _output(c)
    c.require(x.dtype in (I8, U8), "only bytes")
    zeros = [np.zeros((), x.dtype) if c.input(i) is None else q.fixed_number(c, i, "a zero point") for i in (2, 4)]
    table = _table(fn, x, _scale(c, 1), zeros[0], _scale(c, 3), zeros[1])
    c.inplace(0)
    q.lut(c, x, y, x.size, table)


@lower("QLinearSigmoid", domain=MS)
def qlinear_sigmoid(c: Lowering) -> None:
    _unary(c, sigmoid)


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


# --- pools


@lower("NhwcMaxPool", domain=MS)
def nhwc_max_pool(c: Lowering) -> None:
    x, y = _given(c, 0), _output(c)
    c.require(x.dtype == U8 and x.rank == 4, "only images of unsigned bytes")
    window = _window(c, x.shape[1:3], c.attr("dilations"))
    c.require(y.shape[1:3] == tuple(window.sizes), "the output has another size than the windows")
    (n, h, w, ch), (oh, ow) = x.shape, y.shape[1:3]
    taps, vectors = math.prod(window.kernel), -(-ch // (4 * c.machine.target.lanes(32)))
    c.call(
        q.CONV, "int8_max_pool", x=x, y=y, n=n, h=h, w=w, c=ch, oh=oh, ow=ow, kh=window.kernel[0], kw=window.kernel[1],
        sh=window.strides[0], sw=window.strides[1], dh=window.dilations[0], dw=window.dilations[1],
        ph=window.pads[0][0], pw=window.pads[1][0], chunks=n * oh, cost=50 + n * oh * ow * 4 * (1 + taps * vectors),
        bytes=x.nbytes + y.nbytes,
    )  # fmt: skip


def _window(c: Lowering, spatial: tuple[int, ...], dilations: Any) -> Window:
    window = Window(
        spatial, c.attr("kernel_shape"), c.attr("strides"), dilations, c.attr("pads"), c.attr("auto_pad"),
        c.attr("ceil_mode"),
    )  # fmt: skip
    c.require(all(b >= 0 and e >= 0 for b, e in window.pads), "negative pads")
    return window


@lower("QLinearAveragePool", domain=MS)
def qlinear_average_pool(c: Lowering) -> None:
    x, y = _given(c, 0), _output(c)
    c.require(x.rank == 4, "only two spatial axes")
    last = is_set(c.attr("channels_last"))
    window = _window(c, x.shape[1:3] if last else x.shape[2:], None)
    c.require(not is_set(c.attr("ceil_mode")), "ceil_mode")
    sizes = (*window.kernel, *window.strides, window.pads[0][0], window.pads[1][0])
    _average(c, x, y, last, sizes, is_set(c.attr("count_include_pad")))


@lower("QLinearGlobalAveragePool", domain=MS)
def qlinear_global_average_pool(c: Lowering) -> None:
    x, y = _given(c, 0), _output(c)
    last = is_set(c.attr("channels_last"))
    c.require(x.rank == 4, "only two spatial axes")
    h, w = x.shape[1:3] if last else x.shape[2:]
    _average(c, x, y, last, (h, w, 1, 1, 0, 0), False)


def _average(c: Lowering, x: Operand, y: Operand, last: bool, sizes: tuple[int, ...], padded: bool) -> None:
    (n, h, w, ch), (oh, ow) = (x.shape, y.shape[1:3]) if last else (_last(x.shape), y.shape[2:])
    zero, out = _zero(c, 2, x.dtype), _zero(c, 4, x.dtype)
    gain = _scale(c, 1) / _scale(c, 3)
    source: Any = q.flipped(c, x)
    if not last and ch > 1 and h * w > 1:
        turned = c.temp(x.size)
        q.transposed(c, source, turned, n, ch, h * w, 1)
        source = turned
    plain = last or ch == 1 or oh * ow == 1
    made: Any = y if plain and x.dtype == U8 else c.temp(y.size)
    kh, kw, sh, sw, ph, pw = sizes
    c.call(
        q.CONV, "int8_average_pool", x=source, y=made, n=n, h=h, w=w, c=ch, oh=oh, ow=ow, kh=kh, kw=kw, sh=sh, sw=sw,
        ph=ph, pw=pw, padded=int(padded), x_zero=zero, gain=float(gain), low=float(-out), high=float(255 - out),
        out_zero=out, chunks=n * oh * -(-ch // 16), cost=50 + y.size * kh * kw / 10, bytes=x.nbytes,
    )  # fmt: skip
    if not plain:
        back: Any = y if x.dtype == U8 else c.temp(y.size)
        q.transposed(c, made, back, n, oh * ow, ch, 1)
        made = back
    if x.dtype == I8:
        q.lut(c, made, y, y.size, q.FLIP)


def _last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1])


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
