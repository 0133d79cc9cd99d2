"""Reads weights behind DequantizeLinear, as rows of a product, and bytes that DequantizeLinear gives it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import attr, const
from ronn_provider_bitnet.passes.codes import Codes, few

Array = np.ndarray
_FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)

_INTEGERS = (
    DType.INT2, DType.UINT2, DType.INT4, DType.UINT4, DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32,
)  # fmt: skip


class Behind(NamedTuple):
    """A DequantizeLinear whose weights reach a product, as its rows [N, K] where ``by_row``, else as [K, N]; ``nodes``
    are those in between, last first, and the DequantizeLinear itself."""

    node: Node
    by_row: bool
    nodes: tuple[Node, ...]


def behind(value: Value | None, by_row: bool) -> Behind | None:
    """The DequantizeLinear that ``value``, the right side of a product, comes from, through Transpose of matrices and
    Cast of real numbers; None where there is none."""
    nodes: list[Node] = []
    while value is not None and value.producer is not None:
        node = value.producer
        nodes.append(node)
        if node.domain != "":
            return None
        if node.op == "DequantizeLinear":
            return Behind(node, by_row, tuple(nodes))
        if node.op == "Transpose":
            if value.tensor.rank != 2:
                return None
            by_row ^= list(attr(node, "perm", [1, 0])) == [1, 0]
        elif node.op != "Identity" and not (node.op == "Cast" and value.dtype in _FLOATS):
            return None
        value = node.inputs[0]
    return None


def weights(found: Behind) -> Codes | str:
    """The weights as codes, or why not. They are not rounded to float16 where scales are float16."""
    node = found.node
    q, scale, zero = (const(node.input(i)) for i in range(3))
    if q is None or scale is None or q.ndim != 2 or (node.input(2) is not None and zero is None):
        return "weights that are not constant matrices"
    if node.inputs[0] is None or node.inputs[0].dtype not in _INTEGERS:
        return f"weights in {q.dtype}"
    axis, block = int(attr(node, "axis", 1)) % 2, int(attr(node, "block_size", 0))
    zeros: Array = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    factors: Array = np.asarray(scale, np.float32)
    if not found.by_row:
        q, axis = q.T, 1 - axis
        if block:
            factors, zeros = factors.T, zeros.T
    if block and axis != 1:
        return "blocks across the columns"
    if not block:
        if factors.size > 1 and axis == 1:
            return "scales along K"
        factors, zeros = (np.broadcast_to(a.reshape(-1, 1), (len(q), 1)) for a in (factors, zeros))
    return few(q, np.ascontiguousarray(factors), np.ascontiguousarray(zeros), block)


class Bytes(NamedTuple):
    """Bytes ``x`` that stand for ``(x - zero) * scale``; the scale one float32, the zero point one byte or None."""

    x: Value
    scale: Value
    zero: Value | None
    node: Node


def given_bytes(value: Value) -> Bytes | None:
    """The bytes that a DequantizeLinear with one constant scale makes ``value`` of; None where there are none."""
    node = value.producer
    if node is None or node.op != "DequantizeLinear" or node.domain != "":
        return None
    x, scale, zero = node.inputs[0], const(node.input(1)), node.input(2)
    if x is None or x.dtype not in (DType.INT8, DType.UINT8) or scale is None or scale.size != 1:
        return None
    if scale.dtype != np.float32 or (zero is not None and (const(zero) is None or zero.tensor.size != 1)):
        return None
    return None if node.inputs[1] is None else Bytes(x, node.inputs[1], zero, node)
