"""Integer products whose constant weights need few bits: MatMulInteger, QLinearMatMul and their relatives."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, const, graphs, remove_dead, take_over
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.offer import offer, offer_instead
from ronn.passes.rewrite import Refusal
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.passes.codes import Codes, few
from ronn_provider_bitnet.passes.refusing import leave
from ronn_provider_bitnet.passes.take_bits import integer_weights, row_of

Array = np.ndarray
_BYTES = (DType.INT8, DType.UINT8)


class _No(Exception):
    """Why a product stays as it is."""


@define_pass("take-integers", requires_types=True, keeps_types=True, late=True)
def take_integers(graph: Graph, context: PassContext) -> bool:
    """Makes BitInteger and BitIntegerToFloat of integer products with constant weights of at most 16 values in equal
    steps, zero points considered: MatMulInteger, QLinearMatMul, QGemm, MatMulIntegerToFloat and DynamicQuantizeMatMul.
    Sums are the same to the bit; those that become bytes may round otherwise where they lie in the middle."""
    changed = False
    for g in graphs(graph):
        for node in g:
            take = _KINDS.get(node.op)
            if take is None or not context.may_rewrite():
                continue
            context.at = node
            try:
                changed = take(g, node, context) or changed
            except _No as e:
                leave(node, str(e), context)
    return changed


def _matmul_integer(graph: Graph, node: Node, context: PassContext) -> bool:
    x = _left(node.inputs[0])
    zero = _left_zero(node.input(2), x)
    found = _codes(node.inputs[1], node.input(3), None, transposed=False)
    step = int(found.scale[0, 0])
    b = Builder(graph, node, context)
    codes, base, _ = integer_weights(found)
    inputs = [x, b.constant(codes), b.constant(base * np.int32(step)), zero]
    attributes = {"bits": max(found.bits, 2), "step": step}
    return offer_instead(b, node, [node], "BitInteger", inputs, attributes, domain=DOMAIN)


def _to_float(graph: Graph, node: Node, context: PassContext) -> bool:
    """MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero?, b_zero?, bias?)."""
    x, x_scale = _left(node.inputs[0]), node.inputs[2]
    zero = _left_zero(node.input(4), x)
    if x_scale is None or not _one(x_scale) or x_scale.dtype is not DType.FLOAT32:
        raise _No("scales of activations that are not one float32")
    found = _codes(node.inputs[1], node.input(5), _floats(node.inputs[3]), transposed=False)
    b = Builder(graph, node, context)
    bias = _constant(b, _bias(node.input(6), found))
    inputs = [x, *(b.constant(a) for a in integer_weights(found)), x_scale, zero, bias]
    return offer_instead(b, node, [node], "BitIntegerToFloat", inputs, {"bits": max(found.bits, 2)}, domain=DOMAIN)


def _dynamic(graph: Graph, node: Node, context: PassContext) -> bool:
    """DynamicQuantizeMatMul(a, b, b_scale, b_zero?, bias?)."""
    if node.output.dtype is not DType.FLOAT32 or node.inputs[0] is None or node.inputs[0].tensor.rank in (None, 0, 1):
        raise _No("activations that are not rows of float32")
    found = _codes(node.inputs[1], node.input(3), _floats(node.inputs[2]), transposed=False)
    b = Builder(graph, node, context)
    x, x_scale, zero = b.node("DynamicQuantizeLinear", [node.inputs[0]], version=11, outputs=3).outputs
    bias = _constant(b, _bias(node.input(4), found))
    inputs = [x, *(b.constant(a) for a in integer_weights(found)), x_scale, zero, bias]
    return offer_instead(b, node, [node], "BitIntegerToFloat", inputs, {"bits": max(found.bits, 2)}, domain=DOMAIN)


def _qlinear(graph: Graph, node: Node, context: PassContext) -> bool:
    """QLinearMatMul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)."""
    factor = _number(node.inputs[1]) * _floats(node.inputs[4]) / _number(node.inputs[6])
    return _to_bytes(graph, node, 2, 3, 5, factor, None, node.inputs[7], context)


def _qgemm(graph: Graph, node: Node, context: PassContext) -> bool:
    """QGemm(A, a_scale, a_zero, B, b_scale, b_zero, C?, y_scale?, y_zero?)."""
    if attr(node, "transA", 0):
        raise _No("activations that are transposed")
    factor = _number(node.inputs[1]) * _floats(node.inputs[4]) * np.float32(attr(node, "alpha", 1.0))
    if node.input(7) is not None:
        factor = factor / _number(node.inputs[7])
    steps = const(node.input(6))
    if node.input(6) is not None and steps is None:
        raise _No("a bias that is not constant")
    return _to_bytes(graph, node, 2, 3, 5, factor, steps, node.input(8), context)


def _to_bytes(
    graph: Graph, node: Node, a_zero: int, weights: int, b_zero: int, factor: Array, steps: Array | None,
    y_zero: Value | None, context: PassContext,
) -> bool:  # fmt: skip
    """A product of bytes with what ``factor`` and an int32 bias make of its sums, rounded where there is a zero point
    of the result."""
    x = _left(node.inputs[0])
    zero = _left_zero(node.input(a_zero), x)
    found = _codes(node.inputs[weights], node.input(b_zero), factor, transposed=bool(attr(node, "transB", 0)))
    if y_zero is not None and (const(y_zero) is None or y_zero.dtype not in _BYTES or not _one(y_zero)):
        raise _No("results that are not bytes of one zero point")
    bias = None
    if steps is not None:
        if steps.size not in (1, len(found.codes)):
            raise _No("a bias that is not one number a column")
        bias = (steps.reshape(-1) * np.broadcast_to(factor, (len(found.codes),))).astype(np.float32)
    b = Builder(graph, node, context)
    inputs = [x, *(b.constant(a) for a in integer_weights(found)), b.constant(np.float32(1)), zero, _constant(b, bias)]
    attributes = {"bits": max(found.bits, 2)}
    if y_zero is None:
        return offer_instead(b, node, [node], "BitIntegerToFloat", inputs, attributes, domain=DOMAIN)
    made = offer(b, "BitIntegerToFloat", inputs, attributes, version=1, domain=DOMAIN)
    if isinstance(made, Refusal):
        b.discard()
        raise _No(made.reason)
    byte = b.constant(np.asarray(y_zero.data).reshape(()))
    y = b.op("QuantizeLinear", made, b.constant(np.float32(1)), byte, version=max(context.opset, 13))
    take_over(graph, node.output, y)
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True


_KINDS = {
    "MatMulInteger": _matmul_integer, "MatMulIntegerToFloat": _to_float, "DynamicQuantizeMatMul": _dynamic,
    "QLinearMatMul": _qlinear, "QGemm": _qgemm,
}  # fmt: skip


# --- operands


def _left(x: Value | None) -> Value:
    if x is None or x.dtype not in _BYTES or x.tensor.rank in (None, 0, 1):
        raise _No("activations that are not rows of bytes")
    return x


def _one(value: Value) -> bool:
    return value.tensor.rank == 0 or value.tensor.shape == (1,)


def _left_zero(zero: Value | None, x: Value) -> Value | None:
    """The zero point of activations: one, or one for each row of a matrix."""
    if zero is None or _one(zero) or (zero.tensor.rank == 1 and x.tensor.rank == 2):
        return zero
    raise _No("zero points of activations that are not one, nor one for each row of a matrix")


def _codes(b: Value | None, zero: Value | None, scale: Array | None, *, transposed: bool) -> Codes:
    """The weights [K, N] (``transposed``: [N, K]) less their zero points."""
    w, zeros = const(b), const(zero)
    if w is None or w.ndim != 2 or (zero is not None and zeros is None):
        raise _No("weights that are not a constant matrix")
    rows = w if transposed else w.T
    n = len(rows)
    scales, less = np.ones(1, np.float32) if scale is None else scale, np.zeros(1, np.int64) if zeros is None else zeros
    if scales.size not in (1, n) or less.size not in (1, n):
        raise _No("scales or zero points of weights that are neither one nor one a column")
    full = [np.broadcast_to(a.reshape(-1, 1), (n, 1)) for a in (scales.astype(np.float32), less.astype(np.int64))]
    found = few(rows, np.ascontiguousarray(full[0]), np.ascontiguousarray(full[1]), 0)
    if isinstance(found, str):
        raise _No(found)
    return found


def _floats(value: Value | None) -> Array:
    data = const(value)
    if data is None or data.dtype != np.float32:
        raise _No("scales that are not constant float32")
    return data


def _number(value: Value | None) -> Array:
    data = _floats(value)
    if data.size != 1:
        raise _No("scales that are not one number")
    return data.reshape(())


def _bias(value: Value | None, found: Codes) -> Array | None:
    bias = row_of(value, len(found.codes))
    if isinstance(bias, str):
        raise _No(bias)
    return bias


def _constant(b: Builder, data: Array | None) -> Value | None:
    return None if data is None else b.constant(data, "bias")
