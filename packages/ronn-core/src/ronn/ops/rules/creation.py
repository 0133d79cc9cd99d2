"""Operators that make tensors out of attributes and shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.ir.dims import Dim, ceildiv, dim_max, is_nonnegative
from ronn.ir.types import DType
from ronn.ops.infer import MAX_SHAPE_DATA, InferContext, rule
from ronn.ops.rules.common import dtype_of_code, length, unknown


@rule("Constant")
def constant(c: InferContext) -> None:
    found = constant_array(c.node.attributes)
    if found is None:
        c.set(0, None, None)
        return
    c.set(0, DType.of(found.dtype), found.shape)
    if found.ndim <= 1 and found.size <= MAX_SHAPE_DATA and found.dtype.kind in "iub":
        c.set_dims(0, [int(x) for x in found.reshape(-1)])


def constant_array(attributes: dict[str, Any]) -> np.ndarray | None:
    """The array that a Constant node with these attributes stands for; None when there is no such attribute."""
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            return value
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_string", "value_strings"):
            return np.array(value, object)
    return None


@rule("ConstantOfShape")
def constant_of_shape(c: InferContext) -> None:
    fill = c.node.attributes.get("value")
    dtype = DType.FLOAT32 if fill is None else DType.of(fill.dtype)
    shape = c.dims(0)
    if shape is None:
        c.set(0, dtype, unknown(length(c, 0)))
        return
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise c.fail(f"the shape {list(shape)} has a negative dim")
    c.set(0, dtype, shape)
    if fill is not None and fill.dtype.kind in "iub" and len(shape) <= 1:
        count = shape[0] if shape else 1
        if isinstance(count, int) and count <= MAX_SHAPE_DATA:
            c.set_dims(0, [int(fill.reshape(-1)[0])] * count)


@rule("Range")
def range_(c: InferContext) -> None:
    dtype = c.dtype(0) if c.dtype(0) is not None else c.dtype(1)
    if dtype is not None and dtype.is_float:
        c.set(0, dtype, (_float_count(c),))
        return
    parts = [None if (d := c.dims(i)) is None or len(d) != 1 else d[0] for i in range(3)]
    start, limit, delta = parts
    if start is None or limit is None or not isinstance(delta, int):
        c.set(0, dtype, (None,))
        return
    if delta == 0:
        raise c.fail("a step of 0")
    span = limit - start if delta > 0 else start - limit
    count = span if abs(delta) == 1 else ceildiv(span, abs(delta))
    count = count if is_nonnegative(count) else dim_max(count, 0)
    c.set(0, dtype, (count,))
    if isinstance(count, int) and count <= MAX_SHAPE_DATA:
        elements: list[Dim] = [start + i * delta for i in range(count)]
        c.set_dims(0, elements)


def _float_count(c: InferContext) -> int | None:
    arrays = [c.const(i) for i in range(3)]
    if any(a is None or a.size != 1 for a in arrays):
        return None
    start, limit, delta = (float(a.reshape(-1)[0]) for a in arrays if a is not None)
    if delta == 0 or not all(map(math.isfinite, (start, limit, delta))):
        raise c.fail(f"a range from {start} to {limit} in steps of {delta}")
    return max(math.ceil((limit - start) / delta), 0)


@rule("RandomNormal", "RandomUniform")
def random(c: InferContext) -> None:
    c.set(0, dtype_of_code(c, c.attr("dtype", 1)), c.attr("shape"))


@rule("RandomNormalLike", "RandomUniformLike", "Bernoulli")
def random_like(c: InferContext) -> None:
    code = c.node.attributes.get("dtype")
    c.set(0, c.dtype(0) if code is None else dtype_of_code(c, code), c.shape(0))


@rule("Multinomial")
def multinomial(c: InferContext) -> None:
    shape = c.shape(0)
    c.set(0, dtype_of_code(c, c.attr("dtype", 6)), (None if not shape else shape[0], c.attr("sample_size", 1)))


@rule("HannWindow", "HammingWindow", "BlackmanWindow")
def window(c: InferContext) -> None:
    known = c.dims(0)
    c.set(0, dtype_of_code(c, c.attr("output_datatype", 1)), (known[0] if known else None,))
