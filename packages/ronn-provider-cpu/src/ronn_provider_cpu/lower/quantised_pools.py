"""NhwcMaxPool and average pools of com.microsoft on quantised bytes, which take pixels channels last."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_codegen.windows import Window, is_set
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
