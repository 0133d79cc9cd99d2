"""Products of bytes, summed in int32: MatMulInteger, QLinearMatMul and their relatives. Scales and zero points may be
computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn_codegen.clike.lower._products import Epilogue, Matrix, Source, Terms, matrix, product
from ronn_codegen.clike.table import lower
from ronn_codegen.loops.write import Value
from ronn_codegen.lower import _quantised as q
from ronn_codegen.lowering import F32, I8, U8, Lowering, Operand

MS = "com.microsoft"
_BYTES = (I8, U8)


def _given(c: Lowering, *indexes: int) -> list[Operand]:
    found = [c.input(i) for i in indexes]
    c.require(all(f is not None for f in found), "an operand is missing")
    return [f for f in found if f is not None]


def _output(c: Lowering) -> Operand:
    y = c.outputs[0]
    assert y is not None
    return y


def _left(a: Operand, b: Matrix) -> Matrix:
    """The left side; with one matrix on the right all of its rows are those of one."""
    made = matrix(a)
    if math.prod(b.batch) != 1 or not made.batch:
        return made
    return Matrix(a, made.rows * math.prod(made.batch), made.columns, made.row, 1)


def _right(b: Operand) -> Matrix:
    made = matrix(b, transposed=b.rank == 1)
    return Matrix(b, made.rows, made.columns, made.row, made.column) if math.prod(made.batch) == 1 else made


def _along(c: Lowering, given: Operand | None, count: int, what: str, *, rows: bool) -> Source | None:
    """One value, or one for each of ``count`` rows or columns."""
    if given is None:
        return None
    c.require(given.size in (1, count), f"{what} of shape {given.shape}")
    step = int(given.size > 1)
    return Source(given, step if rows else 0, 0 if rows else step)


def _zeros(c: Lowering, a: Matrix, b: Matrix, a_index: int, b_index: int) -> dict[str, Any]:
    c.require(a.stored in ("i8", "u8") and b.stored in ("i8", "u8"), "no bytes")
    left = _along(c, c.input(a_index), a.rows, "zero points of the left side", rows=True)
    given = c.input(b_index)
    right = _along(c, given, b.columns, "zero points of the right side", rows=False)
    if right is not None and given is not None and given.data is not None:
        fixed = np.ascontiguousarray(given.data).reshape(-1)
        right = Source(fixed, 0, right.column) if fixed.any() else None
    if left is not None and isinstance(left.operand, Operand):
        data = left.operand.data
        left = None if data is not None and not data.any() else left
    return {"a_zero": left, "b_zero": right}


@lower("MatMulInteger")
def matmul_integer(c: Lowering) -> None:
    """MatMulInteger: int32 sums."""
    a, b = _given(c, 0, 1)
    right = _right(b)
    left = _left(a, right)
    product(c, left, right, _placed(_output(c), left, right), **_zeros(c, left, right, 2, 3))


def _placed(y: Operand, a: Matrix, b: Matrix) -> Operand | Matrix:
    """The output: one matrix where both sides are."""
    return y if a.batch or b.batch else Matrix(y, a.rows, b.columns, b.columns, 1)


@lower("MatMulIntegerToFloat", domain=MS)
def matmul_integer_to_float(c: Lowering) -> None:
    """MatMulIntegerToFloat: sums times the scales, and a bias."""
    a, b, a_scale, b_scale = _given(c, 0, 1, 2, 3)
    right = _right(b)
    left = _left(a, right)
    c.require(a_scale.dtype == b_scale.dtype == F32, "scales that are not float32")
    scale = _along(c, a_scale, left.rows, "scales of the left side", rows=True)
    made = _real(c, scale, _along(c, b_scale, right.columns, "scales", rows=False), 6, right.columns)
    product(c, left, right, _placed(_output(c), left, right), made, **_zeros(c, left, right, 4, 5))


def _real(c: Lowering, left: Source | None, right: Source | None, bias: int, columns: int) -> Epilogue:
    added = _along(c, c.input(bias), columns, "a bias", rows=False)
    assert left is not None and right is not None

    def make(total: Value, terms: Terms) -> Value:
        value = total.cast("f32") * (terms.load(left) * terms.load(right))
        return value if added is None else value + terms.load(added)

    return make


@lower("DynamicQuantizeMatMul", domain=MS)
def dynamic_quantize_matmul(c: Lowering) -> None:
    """DynamicQuantizeMatMul: the left side is quantised first."""
    a, b, b_scale = _given(c, 0, 1, 2)
    right = _right(b)
    left = _left(a, right)
    c.require(a.dtype == b_scale.dtype == F32, "not float32")
    scale, zero, held = c.temp(4), c.temp(1), c.temp(a.size)
    q.quantise_dynamically(c, a, scale, zero)
    c.call(
        q.QUANTIZE, "quantize_u8", x=a, y=held, rows=1, k=a.size, pitch=a.size, scale_at=scale, zero_at=zero,
        bytes=5 * a.size,
    )  # fmt: skip
    left = Matrix(held, left.rows, left.columns, left.row, 1, left.batch, left.steps, 0, "u8")
    made = _real(
        c, Source(scale, 0, 0, kind="f32"), _along(c, b_scale, right.columns, "scales", rows=False), 4, right.columns
    )
    zeros = _zeros(c, left, right, 99, 3) | {"a_zero": Source(zero, 0, 0, kind="u8")}
    product(c, left, right, _placed(_output(c), left, right), made, **zeros)


@lower("QLinearMatMul")
def qlinear_matmul(c: Lowering) -> None:
    """QLinearMatMul: sums times the scales, rounded to bytes."""
    a, a_scale, b, b_scale, y_scale, y_zero = _given(c, 0, 1, 3, 4, 6, 7)
    right = _right(b)
    left = _left(a, right)
    made = _bytes(c, left, right, a_scale, b_scale, (y_scale, y_zero), None, 1.0)
    product(c, left, right, _placed(_output(c), left, right), made, **_zeros(c, left, right, 2, 5))


def _bytes(
    c: Lowering, a: Matrix, b: Matrix, a_scale: Operand, b_scale: Operand, out: tuple[Operand, Operand] | None,
    added: Source | None, alpha: float,
) -> Epilogue:  # fmt: skip
    """Sums times the scales; with the scale and zero point of an output rounded to nearest (ties to even) and held to
    the bytes that there are."""
    scales = [a_scale, b_scale, *([] if out is None else out[:1])]
    c.require(all(s.dtype == F32 for s in scales), "scales that are not float32")
    left = _along(c, a_scale, a.rows, "scales of the left side", rows=True)
    right = _along(c, b_scale, b.columns, "scales", rows=False)
    assert left is not None and right is not None
    if out is not None:
        c.require(out[0].size == out[1].size == 1, "several scales of the output")
        c.require(out[1].dtype in _BYTES, "an output of no bytes")

    def make(total: Value, terms: Terms) -> Value:
        if added is not None:
            total = total + terms.load(added)
        scale = terms.load(left) * terms.load(right)
        if alpha != 1:
            scale = terms.number(alpha) * scale
        if out is None:
            return total.cast("f32") * scale
        value = total.cast("f32") * (scale / terms.load(Source(out[0], 0, 0)))
        low, high = (-128.0, 127.0) if out[1].dtype == I8 else (0.0, 255.0)
        zero = terms.load(Source(out[1], 0, 0)).cast("f32")
        return (value.do("rint") + zero).max(low).min(high)

    return make


@lower("QGemm", domain=MS)
def qgemm(c: Lowering) -> None:
    """QGemm: to float32, or with a scale and a zero point of the output to bytes."""
    a, a_scale, b, b_scale = _given(c, 0, 1, 3, 4)
    c.require(a.rank == b.rank == 2, "a side that is no matrix")
    left = matrix(a, transposed=bool(c.attr("transA", 0)))
    right = matrix(b, transposed=bool(c.attr("transB", 0)))
    bias = c.input(6)
    added = None
    if bias is not None:
        c.require(bias.size in (1, right.columns), f"a bias of shape {bias.shape}")
        added = Source(bias, 0, int(bias.size > 1))
    out = None if c.input(7) is None or c.input(8) is None else tuple(_given(c, 7, 8))
    made = _bytes(c, left, right, a_scale, b_scale, out, added, c.attr("alpha", 1.0))  # type: ignore[arg-type]
    product(c, left, right, _output(c), made, **_zeros(c, left, right, 2, 5))
