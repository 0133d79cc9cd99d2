"""Integer products and quantised convolutions: MatMulInteger, QLinearConv, their relatives and fused forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_codegen.windows import ints, is_set, resolve_pads
from ronn_provider_cpu.lower import _int8 as q
from ronn_provider_cpu.lower._int8_right import products
from ronn_provider_cpu.lowering import F32, I8, U8, Lowering, Operand, Temporary, lower
from ronn_provider_cpu.quantised_ops import DOMAIN

MS = "com.microsoft"
Array = np.ndarray
_BYTES = (I8, U8)


def _all(c: Lowering, *indexes: int) -> list[Operand]:
    found = [c.input(i) for i in indexes]
    c.require(all(f is not None for f in found), "an operand is missing")
    return [f for f in found if f is not None]


def _output(c: Lowering) -> Operand:
    y = c.outputs[0]
    assert y is not None
    return y


def _matrix_sizes(c: Lowering, a: Operand, b: Operand) -> tuple[int, int, int]:
    """Rows, K, N of a product with a matrix on the right."""
    c.require(b.rank == 2, "the right side is no matrix")
    c.require(a.rank >= 1, "the left side is a scalar")
    return math.prod(a.shape[:-1]), b.shape[0], b.shape[1]


def _column_zero(c: Lowering, index: int, n: int) -> Array | None:
    """The constant zero points of the right side: one, or one per column."""
    given = c.input(index)
    if given is None:
        return None
    zero = q.fixed(c, index, "the weights' zero point")
    c.require(zero.size in (1, n), f"zero points of shape {zero.shape}")
    return zero.reshape(()) if zero.size == 1 else zero.reshape(n)


def _column_scale(c: Lowering, index: int, n: int) -> Array:
    scale = q.fixed(c, index, "the weights' scale")
    c.require(scale.size in (1, n), f"scales of shape {scale.shape}")
    return scale.reshape(-1).astype(np.float32)


def _as_matrix(v: Array) -> Array:
    return v[None]


def _runtime_zero(c: Lowering, index: int) -> Any:
    """The address of the left side's zero point, unsigned; 0 for none."""
    zero = c.input(index)
    if zero is None:
        return 0
    c.require(zero.size == 1, "a zero point per row")
    return q.flipped(c, zero)


def _signed_none(c: Lowering, a: Operand, index: int) -> Any:
    """As ``_runtime_zero``; flipped bytes without a zero point have one of 128."""
    found = _runtime_zero(c, index)
    return np.full(1, 128, np.uint8) if isinstance(found, int) and a.dtype == I8 else found


# --- matrix products


@lower("MatMulInteger")
def matmul_integer(c: Lowering) -> None:
    (a, b), y = _all(c, 0, 1), _output(c)
    if b.data is None or b.rank > 2:
        zero = _signed_none(c, a, 2)
        for left, right, at in products(c, q.flipped(c, a), a, b, _right_zero(c, 3)):
            q.to_words(c, left, right, y.at(4 * at), 4 * right.n, zero_at=zero, raw=True)
        return
    rows, k, n = _matrix_sizes(c, a, b)
    right = q.weights(c, b, "matrix", _as_matrix, _column_zero(c, 3, n), keep_zeros=True)
    zero = _signed_none(c, a, 2)
    q.to_words(c, q.matrix(c, q.flipped(c, a), rows, k), right, y, 4 * n, zero_at=zero, raw=True)


@lower("MatMulIntegerToFloat", domain=MS)
def matmul_integer_to_float(c: Lowering) -> None:
    (a, b, a_scale), y = _all(c, 0, 1, 2), _output(c)
    rows, k, n = _matrix_sizes(c, a, b)
    c.require(y.dtype == F32, "only float32")
    c.require(a_scale.size == 1, "a scale per row")
    right = q.weights(c, b, "matrix", _as_matrix, _column_zero(c, 5, n), keep_zeros=True)
    zero = _signed_none(c, a, 4)
    q.to_words(
        c, q.matrix(c, q.flipped(c, a), rows, k), right, y, 4 * n, zero_at=zero, scale=_column_scale(c, 3, n),
        factor_at=a_scale, bias=_bias(c, 6, n),
    )  # fmt: skip


def _bias(c: Lowering, index: int, n: int) -> Any:
    given = c.input(index)
    if given is None:
        return 0
    bias = q.fixed(c, index, "the bias")
    c.require(bias.size in (1, n), f"a bias of shape {bias.shape}")
    return bias.reshape(-1)


@lower("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_matmul(c: Lowering) -> None:
    (a, b), y = _all(c, 0, 1), _output(c)
    rows, k, n = _matrix_sizes(c, a, b)
    right = q.weights(c, b, "matrix", _as_matrix, _column_zero(c, 3, n), keep_zeros=True)
    scale, zero = c.temp(4), c.temp(1)
    pitch = -(-k // 4) * 4
    left = c.temp(rows * pitch + q.SLACK)
    q.quantise_dynamically(c, a, scale, zero)
    _quantise(c, a, left, rows, k, pitch, scale, zero)
    at = q.Left(left, q.matrix_table(rows, pitch), rows, k=k)
    q.to_words(c, at, right, y, 4 * n, zero_at=zero, scale=_column_scale(c, 2, n), factor_at=scale, bias=_bias(c, 4, n))


def _quantise(c: Lowering, x: Any, y: Any, rows: int, k: int, pitch: int, scale: Any, zero: Any) -> None:
    c.call(
        q.QUANTIZE, "quantize_u8", x=x, y=y, rows=rows, k=k, pitch=pitch, scale_at=scale, zero_at=zero,
        chunks=max(1, rows * k // 4096), cost=50 + rows * k / 6, bytes=5 * rows * k,
    )  # fmt: skip


@lower("QLinearMatMul")
def qlinear_matmul(c: Lowering) -> None:
    (a, b), y = _all(c, 0, 3), _output(c)
    if b.data is None or b.rank > 2:
        _of_two_computed(c, a, b, y)
        return
    rows, k, n = _matrix_sizes(c, a, b)
    scale = q.fixed_number(c, 1, "the left scale").astype(np.float32) * _column_scale(c, 4, n)
    scale = scale / q.fixed_number(c, 6, "the output's scale").astype(np.float32)
    _requantised(c, a, b, "matrix", _as_matrix, (rows, k, n), 2, 5, 7, scale, y)


def _right_zero(c: Lowering, index: int) -> int:
    """The one zero point of a right side, as that of signed bytes."""
    zero = q.fixed_number(c, index, "the right zero point")
    b = c.input(1 if index == 3 else 3)
    return int(zero) - (128 if b is not None and b.dtype == U8 else 0)


def _of_two_computed(c: Lowering, a: Operand, b: Operand, y: Operand) -> None:
    """QLinearMatMul without a constant matrix on the right: with zero points there, sums go by way of float32."""
    scale = q.fixed_number(c, 1, "the left scale").astype(np.float32) * q.fixed_number(c, 4, "the right scale")
    scale = (scale / q.fixed_number(c, 6, "the output's scale").astype(np.float32)).astype(np.float32)
    less, zero = q.unsigned_zero(q.fixed_number(c, 2, "the left zero point")), _right_zero(c, 5)
    out = q.fixed_number(c, 7, "the output's zero point")
    c.require(y.dtype in _BYTES and a.dtype in _BYTES, "no bytes")
    low, high = q.limits(y.dtype, int(out))
    parts = products(c, q.flipped(c, a), a, b, zero)
    if zero == 0:
        for left, right, at in parts:
            q.to_bytes(
                c, left, right, y.at(at), right.n, init=0, scale=scale, low=low, high=high, zero=int(out), less=less
            )
        return
    sums, made = c.temp(4 * y.size), y if y.dtype == U8 else c.temp(y.size)
    for left, right, at in parts:
        q.to_words(c, left, right, sums.at(4 * at), 4 * right.n, zero_at=np.full(1, less, np.uint8), scale=scale)
    _quantise(c, sums, made, 1, y.size, y.size, np.ones(1, np.float32), np.full(1, q.unsigned_zero(out), np.uint8))
    if made is not y:
        q.lut(c, made, y, y.size, q.FLIP)


def _requantised(
    c: Lowering, a: Operand, b: Operand, key: Any, arrange: Any, sizes: tuple[int, int, int], a_zero: int, b_zero: int,
    y_zero: int, scale: Array, y: Operand, bias: Any = 0,
) -> None:  # fmt: skip
    rows, k, n = sizes
    right = q.weights(c, b, key, arrange, _column_zero(c, b_zero, n))
    zero = q.fixed_number(c, a_zero, "the left zero point")
    less = q.unsigned_zero(zero) if c.input(a_zero) is not None else 128 * (a.dtype == I8)
    out = q.fixed_number(c, y_zero, "the output's zero point")
    low, high = q.limits(y.dtype, int(out))
    left = q.matrix(c, q.flipped(c, a), rows, k)
    init = bias - less * right.sums
    q.to_bytes(c, left, right, y, n, init=init, scale=scale, low=low, high=high, zero=int(out))


@lower("QGemm", domain=MS)
def qgemm(c: Lowering) -> None:
    (a, b), y = _all(c, 0, 3), _output(c)
    c.require(not is_set(c.attr("transA")) and a.rank == b.rank == 2, "the left side is transposed")
    flip = is_set(c.attr("transB"))
    k, n = (b.shape[1], b.shape[0]) if flip else b.shape
    sizes, key = (a.shape[0], k, n), ("matrix", flip)

    def arrange(v: Array) -> Array:
        return (v.T if flip else v)[None]

    zeros = c.input(5)
    c.require(zeros is None or zeros.size == 1 or not flip, "zero points per row of the right side")
    scale = np.float32(c.attr("alpha", 1.0)) * q.fixed_number(c, 1, "the left scale") * _column_scale(c, 4, n)
    bias: Any = 0
    if c.input(6) is not None:
        bias = q.fixed(c, 6, "the bias")
        c.require(bias.size in (1, n), f"a bias of shape {bias.shape}")
        bias = bias.reshape(-1)
    if c.input(7) is not None:
        scale = scale / q.fixed_number(c, 7, "the output's scale")
        _requantised(c, a, b, key, arrange, sizes, 2, 5, 8, scale, y, bias)
        return
    right = q.weights(c, b, key, arrange, _column_zero(c, 5, n))
    zero = q.unsigned_zero(q.fixed_number(c, 2, "the left zero point"))
    left = q.matrix(c, q.flipped(c, a), a.shape[0], k)
    q.to_words(c, left, right, y, 4 * n, init=bias - zero * right.sums, scale=scale)


# --- convolutions


def _window(c: Lowering, x: Operand, w: Operand, nhwc: bool = False) -> q.Window:
    """The node's convolution in two dimensions (of one, the rows are 1)."""
    rank = x.rank - 2
    c.require(rank in (1, 2), f"{rank} spatial axes")
    spatial = x.shape[1:-1] if nhwc else x.shape[2:]
    strides, dilations = ints(c.attr("strides"), rank, 1), ints(c.attr("dilations"), rank, 1)
    pads = resolve_pads(c.attr("auto_pad"), c.attr("pads"), spatial, w.shape[2:], strides, dilations)
    c.require(all(b >= 0 and e >= 0 for b, e in pads), "negative pads")
    group = int(c.attr("group", 1))

    def two(values: Any, missing: Any) -> Any:
        return (missing, *values) if rank == 1 else tuple(values)

    (h, wide), ((top, bottom), (left, right)) = two(spatial, 1), two(pads, (0, 0))
    return q.Window(
        n=x.shape[0], h=h, w=wide, channels=x.shape[-1 if nhwc else 1], kernel=two(w.shape[2:], 1),
        strides=two(strides, 1), dilations=two(dilations, 1), pads=(top, left, bottom, right), group=group,
    )  # fmt: skip


def _square(v: Array) -> Array:
    """Weights of one spatial axis as those of two."""
    return v if v.ndim == 4 else v[:, :, None]


def _rights(
    c: Lowering, w: Operand, window: q.Window, zero: Array | None, planes: bool = False, keep_zeros: bool = False
) -> list[q.Right]:
    """The packed weights of every group (one for all of a depthwise convolution)."""
    filters = w.shape[0]
    if zero is not None:
        zero = zero.reshape(-1, *(1,) * (w.rank - 1)) if zero.size > 1 else zero.reshape(())
    key = (window.kernel, window.group, window.dilations[1])
    if window.depthwise(filters):

        def taps(v: Array) -> Array:
            return _square(v).reshape(filters, -1).T

        return [q.weights(c, w, ("depthwise", *key), taps, zero, depthwise=True)]
    each = filters // window.group

    def part(g: int) -> Any:
        return lambda v: window.arrange(_square(v)[g * each : (g + 1) * each])

    options = {"planes": planes, "keep_zeros": keep_zeros}
    return [q.weights(c, w, ("conv", g, *key), part(g), zero, **options) for g in range(window.group)]


def _per_group(values: Any, groups: int) -> list[Any]:
    array = np.asarray(values)
    return [values] * groups if array.size == 1 else np.split(array.reshape(-1), groups)


def _place(y: Operand | Temporary, offset: int) -> Any:
    return y if offset == 0 else y.at(offset)


@lower("QLinearConv")
def qlinear_conv(c: Lowering) -> None:
    (x, w), y = _all(c, 0, 3), _output(c)
    window, filters = _window(c, x, w), w.shape[0]
    zero = q.unsigned_zero(q.fixed_number(c, 2, "the input's zero point"))
    out = q.fixed_number(c, 7, "the output's zero point")
    scale = q.fixed_number(c, 1, "the input's scale") * _column_scale(c, 4, filters)
    scale = scale / q.fixed_number(c, 6, "the output's scale")
    bias = 0 if c.input(8) is None else q.fixed(c, 8, "the bias")
    rights = _rights(c, w, window, _column_zero(c, 5, filters))
    fill = np.full(1, zero, np.uint8)
    place = q.padded_pixels(c, q.flipped(c, x), window, False, fill, q.spills(c, window, filters))
    size = math.prod(window.out)
    made = c.temp(window.n * size * filters)
    low, high = q.limits(y.dtype, int(out))
    groups, each = len(rights), filters // len(rights)
    for g, (right, s, b) in enumerate(zip(rights, _per_group(scale, groups), _per_group(bias, groups), strict=True)):
        q.to_bytes(
            c, q.pixels(place, window, filters, g), right, _place(made, g * each), filters,
            init=b - zero * right.sums, scale=s, low=low, high=high, zero=int(out),
        )  # fmt: skip
    q.transposed(c, made, y, window.n, size, filters, 1)


@lower("ConvInteger")
def conv_integer(c: Lowering) -> None:
    (x, w), y = _all(c, 0, 1), _output(c)
    _words(c, x, w, y, zero=2, w_zero=3, raw=True)


@lower("ConvIntegerToFloat", domain=DOMAIN)
def conv_integer_to_float(c: Lowering) -> None:
    (x, w, x_scale), y = _all(c, 0, 1, 2), _output(c)
    filters = w.shape[0]
    c.require(x_scale.size == 1, "more than one scale")
    scale = np.ascontiguousarray(np.broadcast_to(_column_scale(c, 3, filters), (filters,)))
    init: Any = 0
    if c.input(6) is not None:
        bias = np.ascontiguousarray(q.fixed(c, 6, "the bias").reshape(-1), np.float32)
        c.require(bias.size == filters, f"a bias of shape {bias.shape}")
        init = c.temp(4 * filters + q.SLACK)
        c.call(q.QUANTIZE, "quantize_bias", x=bias, y=init, n=filters, scale=scale, factor_at=x_scale, cost=filters * 2)
    _words(c, x, w, y, zero=4, w_zero=5, raw=False, init=init, scale=scale, factor=x_scale)


def _words(
    c: Lowering, x: Operand, w: Operand, y: Operand, *, zero: int, w_zero: int, raw: bool, init: Any = 0,
    scale: Any = 1, factor: Any = 0,
) -> None:  # fmt: skip
    """A convolution to words, channels first; ``init`` is the address of int32 sums to begin with."""
    window, filters = _window(c, x, w), w.shape[0]
    # Several groups of several images would need planes that lie apart twice.
    planes = not window.depthwise(filters) and (window.group == 1 or window.n == 1)
    rights = _rights(c, w, window, _column_zero(c, w_zero, filters), planes, True)
    less = _signed_none(c, x, zero)
    fill = q.NOTHING if isinstance(less, int) else less
    place = q.padded_pixels(c, q.flipped(c, x), window, False, fill, q.spills(c, window, filters))
    size, groups = math.prod(window.out), len(rights)
    each = filters // groups
    made: Any = y if planes or size == 1 else c.temp(4 * window.n * size * filters)
    for g, (right, s) in enumerate(zip(rights, _per_group(scale, groups), strict=True)):
        begin = init if isinstance(init, int) else _place(init, 4 * g * each)
        to = _place(made, 4 * g * each * (size if planes else 1))
        q.to_words(
            c, q.pixels(place, window, filters, g), right, to, 4 * (size if planes else filters),
            images=window.n if planes else 0, zero_at=less, raw=raw, init=begin, scale=s, factor_at=factor,
        )  # fmt: skip
    if made is not y:
        q.transposed(c, made, y, window.n, size, filters, 4)


@lower("QConvNhwc", domain=DOMAIN)
def qconv_nhwc(c: Lowering) -> None:
    (x, w), y = _all(c, 0, 1), _output(c)
    window, filters = _window(c, x, w, nhwc=True), w.shape[0]
    scale, bias = q.fixed(c, 2, "the scale"), q.fixed(c, 3, "the bias")
    x_zero, y_zero = int(c.attr("x_zero")), int(c.attr("y_zero"))
    rights = _rights(c, w, window, None)
    groups, each = len(rights), filters // len(rights)
    fill = np.full(1, x_zero, np.uint8)
    place = q.padded_pixels(c, x, window, True, fill, q.spills(c, window, filters))
    add = c.input(6)
    affine = None if c.input(4) is None else q.fixed(c, 4, "the stages")
    for g, (right, s, b) in enumerate(zip(rights, _per_group(scale, groups), _per_group(bias, groups), strict=True)):
        stages = None
        if affine is not None:
            stages = q.Stages(
                affine[:, :, g * each : (g + 1) * each], q.fixed(c, 5, "the stages"),
                0 if add is None else _place(add, g * each), int(c.attr("add_stage")),
            )  # fmt: skip
        q.to_bytes(
            c, q.pixels(place, window, filters, g), right, _place(y, g * each), filters,
            init=b - x_zero * right.sums, scale=s, low=float(c.attr("low")), high=float(c.attr("high")), zero=y_zero,
            stages=stages,
        )  # fmt: skip
    if add is not None:
        c.inplace(6)
