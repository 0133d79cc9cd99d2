"""The nodes that quantised records become, layouts as they were."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Value
from ronn.passes.edit import Builder, attr, const
from ronn.records import replace
from ronn_codegen.passes._quantised import MS, Record, Scale, integer_bias, scale_of


def fits(record: Record) -> bool:
    """Whether the result needs no clamping beyond its type's range."""
    return (record.low, record.high) == record.scale.limits


def _move(b: Builder, record: Record) -> Value | None:
    """What only moves elements works on bytes as on reals."""
    op = record.op
    if op is record.nodes[-1]:
        return None  # on bytes already
    inputs = [record.ins[0].value, *op.inputs[1:]]
    if op.op == "Pad":
        mode = attr(op, "mode", "constant")
        if mode in ("constant", b"constant"):
            fill = const(op.input(2))
            if op.version < 11 or (op.input(2) is not None and (fill is None or np.any(fill))):
                return None
            zero = b.constant(np.asarray(record.scale.zero, record.scale.dtype))
            inputs = [inputs[0], inputs[1], zero, *inputs[3:]]
    return b.node(op.op, inputs, dict(op.attributes), version=op.version).output


def _product(b: Builder, record: Record) -> Value | None:
    """A matrix product with constant weights."""
    op, a = record.op, record.ins[0]
    node = None if op.inputs[1] is None else op.inputs[1].producer
    if a.scale is None or node is None or node.op != "DequantizeLinear" or not fits(record):
        return None
    w, s, z = node.inputs[0], node.inputs[1], node.input(2)
    if w is None or w.data is None or w.data.ndim != 2 or w.data.dtype.itemsize != 1 or s is None or s.data is None:
        return None
    transposed = op.op == "Gemm" and bool(attr(op, "transB", 0))
    if s.data.size > 1 and int(attr(node, "axis", 1)) % 2 != (0 if transposed else 1):
        return None
    scale, zero = b.constant(np.asarray(a.scale.scale)), b.constant(np.asarray(a.scale.zero, a.scale.dtype))
    y_scale = b.constant(np.asarray(record.scale.scale))
    y_zero = b.constant(np.asarray(record.scale.zero, record.scale.dtype))
    w_zero = z if z is not None else b.constant(np.zeros(s.data.shape, w.data.dtype))
    inputs: list[Value | None] = [a.value, scale, zero, w, s, w_zero]
    if op.op == "MatMul":
        return b.op("QLinearMatMul", *inputs, y_scale, y_zero)
    if attr(op, "transA", 0) or float(attr(op, "beta", 1.0)) != 1.0 or float(attr(op, "alpha", 1.0)) != 1.0:
        return None
    bias = None
    if op.input(2) is not None:
        steps = integer_bias(op.input(2), a.scale.scale.astype(np.float64) * s.data.reshape(-1))
        if steps is None:
            return None
        bias = b.constant(steps)
    if transposed and w_zero.data is not None and w_zero.data.size > 1:
        if np.any(w_zero.data):
            return None
        inputs[5] = b.constant(np.zeros((), w.data.dtype))
    return b.op("QGemm", *inputs, bias, y_scale, y_zero, domain=MS, version=1, transB=int(transposed))


def _sum_anywhere(b: Builder, record: Record) -> Value | None:
    """The sum of tensors in the layout and type that they have."""
    op, types = record.op, {record.scale.dtype, *(i.scale.dtype for i in record.ins if i.scale is not None)}
    if op.op == "QLinearAdd" or len(types) != 1 or not fits(record):
        return None
    inputs: list[Value | None] = []
    for value, scale in (*((i.value, i.scale) for i in record.ins), (None, record.scale)):
        assert scale is not None
        inputs += [] if value is None else [value]
        inputs += [b.constant(np.asarray(scale.scale)), b.constant(np.asarray(scale.zero, scale.dtype))]
    return b.op("QLinearAdd", *inputs, domain=MS, version=1)


PLAIN = {"Move": _move, "MatMul": _product, "Gemm": _product, "SumAnywhere": _sum_anywhere}


# --- what devices without a layout of their own have besides

_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def _parameters(b: Builder, scale: Scale) -> list[Value]:
    return [b.constant(np.asarray(scale.scale)), b.constant(np.asarray(scale.zero, scale.dtype))]


def _with_parameters(b: Builder, record: Record) -> list[Value]:
    out: list[Value] = []
    for real in record.ins:
        assert real.value is not None and real.scale is not None
        out += [real.value, *_parameters(b, real.scale)]
    return out


def _kept(record: Record, names: tuple[str, ...]) -> dict[str, object]:
    return {k: v for k, v in record.op.attributes.items() if k in names}


def _conv(b: Builder, record: Record) -> Value | None:
    """A convolution with constant weights."""
    if record.weights is None:
        return None
    w, scale, zero = record.weights
    w_scale = b.constant(scale if scale.size > 1 else scale.reshape(()))
    zero = np.broadcast_to(zero.reshape(-1), (scale.size,)) if zero.size == 1 and scale.size > 1 else zero.reshape(-1)
    w_zero = b.constant(np.ascontiguousarray(zero if zero.size > 1 else zero.reshape(())))
    inputs: list[Value | None] = [*_with_parameters(b, record), w, w_scale, w_zero, *_parameters(b, record.scale)]
    if record.bias is not None:
        inputs.append(b.constant(record.bias.reshape(-1)))
    return b.node("QLinearConv", inputs, _kept(record, _CONV)).output


def _average(b: Builder, record: Record) -> Value | None:
    if any(d != 1 for d in record.op.attributes.get("dilations", ())):
        return None
    inputs = [*_with_parameters(b, record), *_parameters(b, record.scale)]
    attributes = {} if record.kind == "GlobalAveragePool" else _kept(record, _WINDOW)
    return b.node("QLinear" + record.kind, inputs, attributes, domain=MS, version=1).output


def _max(b: Builder, record: Record) -> Value | None:
    op = record.op
    if record.ins[0].scale != record.scale or op.version < 12:
        return None
    return b.node("MaxPool", [record.ins[0].value], dict(op.attributes), version=op.version).output


def _concat(b: Builder, record: Record) -> Value | None:
    inputs = [*_parameters(b, record.scale), *_with_parameters(b, record)]
    return b.op("QLinearConcat", *inputs, domain=MS, version=1, axis=int(attr(record.op, "axis", 1)))


def _arithmetic(b: Builder, record: Record) -> Value | None:
    """The sum or the product of two quantised tensors, constants among them; a difference where what is taken away is
    one: with all bits turned, it and its zero point stand for the negated reals."""
    op = record.op
    if op.op not in ("Add", "Mul", "Sub"):
        return None
    inputs: list[Value | None] = []
    for index, value in enumerate(op.inputs):
        node = None if value is None else value.producer
        source = None if node is None or node.op != "DequantizeLinear" else node.inputs[0]
        if node is None or source is None or source.dtype is None:
            return None
        scale = scale_of(node, 1, 2, source.dtype.numpy)
        if scale is None or scale.dtype != record.scale.dtype:
            return None
        if op.op == "Sub" and index == 1:
            if source.data is None:
                return None
            source, scale = b.constant(~source.data), replace(scale, zero=int(~np.asarray(scale.zero, scale.dtype)))
        inputs += [source, *_parameters(b, scale)]
    kind = "QLinearMul" if op.op == "Mul" else "QLinearAdd"
    return b.op(kind, *inputs, *_parameters(b, record.scale), domain=MS, version=1)


INTEGERS = {
    "Conv": _conv, "MatMul": _product, "Gemm": _product, "Sum": _arithmetic, "Affine": _arithmetic, "Concat": _concat,
    "AveragePool": _average, "GlobalAveragePool": _average, "MaxPool": _max, "Move": _move, "Pad": _move,
}  # fmt: skip
"""How records of each kind become integer operators of ONNX and of ``com.microsoft``."""


def clamped(b: Builder, record: Record, value: Value) -> Value:
    """``value``, held to the limits of the record where its type does not hold it already."""
    if fits(record):
        return value
    limits = (b.constant(np.asarray(int(x) + record.scale.zero, record.scale.dtype)) for x in (record.low, record.high))
    return b.op("Clip", value, *limits)
