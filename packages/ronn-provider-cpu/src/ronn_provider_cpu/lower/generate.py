"""Operators that make tensors whose values are known when their sizes are."""

from __future__ import annotations

import numpy as np

from ronn_provider_cpu.lower._copies import constant, fill, known, wanted
from ronn_provider_cpu.lowering import Lowering, lower


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
    start, _, delta = (known(c, i, what) for i, what in enumerate(("start", "limit", "delta")))
    c.require(y.dtype.kind in "iuf" and y.dtype.itemsize >= 4, "computed in a wider type")
    first, step = wanted(start).reshape(-1)[0], wanted(delta).reshape(-1)[0]
    constant(c, y, np.arange(y.size).astype(y.dtype) * step + first)
