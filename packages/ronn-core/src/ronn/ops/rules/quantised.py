"""Quantising and dequantising."""

from __future__ import annotations

from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import dtype_of_code


@rule("QuantizeLinear")
def quantize_linear(c: InferContext) -> None:
    dtype = c.dtype(2) if c.has(2) else dtype_of_code(c, c.attr("output_dtype", 0))
    c.set(0, DType.UINT8 if dtype is None and not c.has(2) else dtype, c.shape(0))


@rule("DequantizeLinear")
def dequantize_linear(c: InferContext) -> None:
    chosen = dtype_of_code(c, c.node.attributes.get("output_dtype"))
    dtype = c.dtype(1) if c.since >= 19 else DType.FLOAT32
    c.set(0, dtype if chosen is None else chosen, c.shape(0))


@rule("DynamicQuantizeLinear")
def dynamic_quantize_linear(c: InferContext) -> None:
    c.set(0, DType.UINT8, c.shape(0))
    c.set(1, DType.FLOAT32, ())
    c.set(2, DType.UINT8, ())
