"""The nodes that quantised records become: operators on bytes channels last, and those that keep the layout."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Value
from ronn.passes.edit import Builder, attr, const
from ronn_provider_cpu.passes._quantised import MS, Record, Scale, integer_bias

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def fits(record: Record) -> bool:
    """Whether the result needs no clamping beyond its type's range."""
    return (record.low, record.high) == record.scale.limits


def flip(b: Builder, value: Value, to: type) -> Value:
    """Bytes of the other signedness that stand for the same reals once the zero point moves by 128."""
    u8 = value if to is np.int8 else b.op("Cast", value, to=2)
    turned = b.op("BitwiseXor", u8, b.constant(np.asarray(128, np.uint8)), version=18)
    return b.op("Cast", turned, to=3) if to is np.int8 else turned


# --- operators on twins


def _constants(b: Builder, scale: Scale) -> list[Value]:
    return [b.constant(np.asarray(scale.scale)), b.constant(np.asarray(scale.unsigned_zero, np.uint8))]


def _with_scales(b: Builder, record: Record, xs: list[Value]) -> list[Value]:
    out = []
    for x, real in zip(xs, record.ins, strict=True):
        assert real.scale is not None
        out += [x, *_constants(b, real.scale)]
    return out


def _last_sum(b: Builder, record: Record, xs: list[Value]) -> Value | None:
    inputs = [*_with_scales(b, record, xs), *_constants(b, record.scale)]
    return b.op("QLinearAdd", *inputs, domain=MS, version=1)


def _last_concat(b: Builder, record: Record, xs: list[Value]) -> Value | None:
    if int(attr(record.op, "axis", 1)) % 4 != 1:
        return None
    inputs = [*_constants(b, record.scale), *_with_scales(b, record, xs)]
    return b.op("QLinearConcat", *inputs, domain=MS, version=1, axis=3)


_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides")


def _window(record: Record, names: tuple[str, ...]) -> dict[str, object]:
    return {k: v for k, v in record.op.attributes.items() if k in names}


def _last_max(b: Builder, record: Record, xs: list[Value]) -> Value | None:
    if record.ins[0].scale != record.scale or not fits(record):
        return None
    names = tuple(n for n in _WINDOW if n != "count_include_pad")
    return b.node("NhwcMaxPool", xs, _window(record, names), domain=MS, version=1).output


def _last_average(b: Builder, record: Record, xs: list[Value]) -> Value | None:
    if any(d != 1 for d in record.op.attributes.get("dilations", ())):
        return None
    inputs = [*_with_scales(b, record, xs), *_constants(b, record.scale)]
    attributes = {**_window(record, tuple(n for n in _WINDOW if n != "dilations")), "channels_last": 1}
    if record.kind == "GlobalAveragePool":
        attributes = {"channels_last": 1}
    return b.node("QLinear" + record.kind, inputs, attributes, domain=MS, version=1).output


def _last_pad(b: Builder, record: Record, xs: list[Value]) -> Value | None:
    op = record.op
    pads = const(op.input(1))
    if pads is None or pads.size != 8 or op.input(3) is not None:
        return None
    order = [*LAST, *(i + 4 for i in LAST)]
    inputs: list[Value | None] = [xs[0], b.constant(pads.reshape(-1)[order])]
    if attr(op, "mode", "constant") in ("constant", b"constant"):
        fill = const(op.input(2))
        if op is record.nodes[-1]:  # on bytes already: the fill is one
            byte = 0 if fill is None else int(fill.reshape(-1)[0])
            byte += record.scale.unsigned_zero - record.scale.zero
        elif fill is None or not np.any(fill):
            byte = record.scale.unsigned_zero
        else:
            return None
        inputs.append(b.constant(np.asarray(byte, np.uint8)))
    return b.node("Pad", inputs, {"mode": attr(op, "mode", "constant")}, version=op.version).output


ON_TWINS = {
    "PadLast": _last_pad,
    "Sum": _last_sum, "Concat": _last_concat, "MaxPool": _last_max, "AveragePool": _last_average,
    "GlobalAveragePool": _last_average,
}  # fmt: skip


# --- operators that keep the layout


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
