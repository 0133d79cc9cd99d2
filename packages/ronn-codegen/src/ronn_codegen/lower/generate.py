"""Operators that make tensors whose values are known when their sizes are."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.lower._copies import axis_of, constant, fill, item, known, wanted
from ronn_codegen.lowering import F32, I32, I64, Lowering
from ronn_codegen.table import lower

_GENERATE = "ronn_codegen.templates.generate"
_INDICES = (I32, I64, F32)  # in the order of their numbers in kernels


@lower("ConstantOfShape")
def constant_of_shape(c: Lowering) -> None:
    """ConstantOfShape."""
    y, value = wanted(c.outputs[0]), c.attr("value")
    fill(c, y, np.zeros(1, y.dtype) if value is None else np.asarray(value).reshape(1))


@lower("Shape", empty=True)
def shape(c: Lowering) -> None:
    """Shape."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    constant(c, y, np.array(x.shape[c.attr("start") : c.attr("end")], np.int64))


@lower("Size", empty=True)
def size(c: Lowering) -> None:
    """Size."""
    constant(c, wanted(c.outputs[0]), np.array(wanted(c.inputs[0]).size, np.int64))


@lower("EyeLike")
def eye_like(c: Lowering) -> None:
    """EyeLike."""
    y = wanted(c.outputs[0])
    rows, columns = y.shape
    constant(c, y, np.eye(rows, columns, int(c.attr("k", 0))).astype(y.dtype))


@lower("Range")
def arange(c: Lowering) -> None:
    """Range of constants."""
    y = wanted(c.outputs[0])
    start, _, delta = (wanted(known(c, i, what)).reshape(-1)[0] for i, what in enumerate(("start", "limit", "delta")))
    dtype = np.dtype(np.float32) if y.dtype.kind not in "iu" and item(y) < 4 else y.dtype  # as wide as sums are
    values = np.arange(y.size).astype(dtype) * dtype.type(delta) + dtype.type(start)
    constant(c, y, values.astype(y.dtype))


@lower("Constant")
def constant_(c: Lowering) -> None:
    """Constant, from its attribute ``value`` or a number."""
    attributes = c.node.attributes
    given = [attributes[name] for name in ("value", "value_float", "value_floats", "value_int", "value_ints")
             if name in attributes]  # fmt: skip
    c.require(given, "no number")
    constant(c, wanted(c.outputs[0]), np.asarray(given[0]))


@lower("Trilu")
def trilu(c: Lowering) -> None:
    """Trilu."""
    x, y, k = wanted(c.inputs[0]), wanted(c.outputs[0]), c.input(1)
    *outer, rows, columns = x.shape
    c.call(
        _GENERATE, "trilu", x=x, y=y, zeros=np.zeros(columns, x.dtype), k=np.zeros(1, np.int64) if k is None else k,
        upper=int(c.attr("upper", 1)), size=item(x), batches=math.prod(outer), rows=rows, columns=columns,
        chunks=math.prod(outer) * rows, cost=math.prod(outer) * rows * 8 + y.nbytes / 30, bytes=2 * y.nbytes,
    )  # fmt: skip


@lower("OneHot")
def one_hot(c: Lowering) -> None:
    """OneHot: the off value everywhere, then the on value."""
    indices, values, y = wanted(c.inputs[0]), wanted(c.inputs[2]), wanted(c.outputs[0])
    c.require(values.dtype == y.dtype, "the types differ")
    c.require(indices.dtype in _INDICES, f"indices are {indices.dtype}")
    axis = axis_of(c, y.rank, -1)
    outer, depth, inner = math.prod(y.shape[:axis]), y.shape[axis], math.prod(y.shape[axis + 1 :])
    fill(c, y, values)
    c.call(
        _GENERATE, "one_hot", indices=indices, values=values, y=y, kind=_INDICES.index(indices.dtype), size=item(y),
        outer=outer, depth=depth, inner=inner, chunks=outer, cost=indices.size * 2, bytes=2 * indices.size * item(y),
    )  # fmt: skip
