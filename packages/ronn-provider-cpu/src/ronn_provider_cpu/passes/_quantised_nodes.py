"""The nodes that quantised records become: operators on bytes channels last."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Value
from ronn.passes.edit import Builder, attr, const
from ronn_codegen.passes._quantised import MS, Record, Scale
from ronn_codegen.passes._quantised_nodes import fits

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


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
