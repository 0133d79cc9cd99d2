"""Quantised graphs on bytes: integer operators for ``DequantizeLinear -> op -> QuantizeLinear``, channels last.

A chain of a convolution, arithmetic with constants per channel, the sum with another tensor, and clamping becomes one
``QConvNhwc``. Every value between such nodes is unsigned bytes, channels last: its *twin*. Where something else reads a
value, it is turned back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, const, graphs, remove_dead, take_over
from ronn.passes.manager import PassContext, define_pass
from ronn_provider_cpu.kernels._common import ints
from ronn_provider_cpu.kernels._spatial import resolve_pads
from ronn_provider_cpu.ops import DOMAIN
from ronn_provider_cpu.passes._quantised import MS, Reading, Real, Record, Scale, dequantised, per_channel

Array = np.ndarray
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_VERSION = 1


@define_pass("fuse-qdq", requires_types=True)
def fuse_qdq(graph: Graph, context: PassContext) -> bool:
    """Run quantised operators on bytes, channels last, with what follows a convolution fused into it."""
    if context.options.get("provider", {}).get("kernels", "native") != "native":
        return False
    changed = False
    for g in graphs(graph):
        if any(n.op == "QuantizeLinear" or n.op.startswith("QLinear") for n in g):
            changed = _Fusion(g, context, Reading.of(g)).run() or changed
    return changed


@dataclass
class Stage:
    """A further rounding of a convolution's output."""

    gain: Array
    bias: Array
    low: float
    high: float
    add: Value | None = None
    add_gain: float = 0.0


@dataclass
class _Fusion:
    graph: Graph
    context: PassContext
    reading: Reading
    twins: dict[Value, Value] = field(default_factory=dict)
    done: dict[Record, Record] = field(default_factory=dict)  # a record -> that at which its chain ends
    made: set[Value] = field(default_factory=set)  # values whose record was replaced
    after: dict[Node, Node] = field(default_factory=dict)  # before which node a reader of this one can stand
    place: dict[Record, int] = field(default_factory=dict)
    changed: bool = False

    def run(self) -> bool:
        nodes = self.graph.nodes
        self.after = dict(pairwise(nodes))
        self.place = {r: i for i, r in enumerate(self.reading.records)}
        for record in self.reading.records:
            if not self.context.may_rewrite():
                break
            if record in self.done:
                continue
            self.context.at = record.op
            self._convert(record)
        for record in self.reading.records:
            if record.out in self.made:
                self._turn_back(record)
        remove_dead([r.nodes[-1] for r in reversed(self.reading.records) if r in self.done], self.graph)
        return self.changed

    def _convert(self, record: Record) -> None:
        kind = record.kind
        if kind == "Pad":
            kind = "PadLast" if record.ins[0].value in self.made else "Move"
        if kind == "Conv":
            self._conv(record)
        elif kind in _PLAIN:
            self._plain(record, kind)
        elif kind in _LAST and all(_is_image(i.value) for i in record.ins) and _fits(record):
            xs = [self._twin(i) for i in record.ins]
            b = self._builder(record.nodes[-1])
            value = _LAST[kind](b, record, xs)
            if value is not None:
                self.after.update(dict.fromkeys(b.nodes, b.anchor))
                self._finish(record, record, value)

    def _plain(self, record: Record, kind: str) -> None:
        b = self._builder(record.nodes[-1])
        value = _PLAIN[kind](b, record)
        if value is None:
            b.discard()
            return
        self.after.update(dict.fromkeys(b.nodes, b.anchor))
        self.context.rewrote(b.nodes, detail=record.op.label)
        self.changed = True
        self.done[record] = record
        take_over(self.graph, record.out, value)
        for user in self.reading.records:
            if any(i.value is record.out for i in user.ins):
                user.ins = [Real(value, i.scale) if i.value is record.out else i for i in user.ins]
        record.out = value

    def _builder(self, anchor: Node) -> Builder:
        return Builder(self.graph, anchor, self.context)

    def _finish(self, first: Record, last: Record, value: Value) -> None:
        """``value`` is the twin of what ``last`` makes, the end of a chain that begins at ``first``."""
        assert value.producer is not None
        self.twins[last.out] = value
        self.made.add(last.out)
        self.done[first] = last
        self.context.rewrote([value.producer], detail=first.op.label)
        self.changed = True

    # --- twins

    def _twin(self, real: Real) -> Value:
        """The operand as unsigned bytes, channels last."""
        value, scale = real.value, real.scale
        assert value is not None and scale is not None
        found = self.twins.get(value)
        if found is None:
            found = self.twins[value] = self._make_twin(value, scale)
        return found

    def _make_twin(self, value: Value, scale: Scale) -> Value:
        node = value.producer
        b = self._builder(next(iter(self.graph)) if node is None else self.after[node])
        out = self._turned(b, node, value, scale)
        self.after.update(dict.fromkeys(b.nodes, b.anchor))
        return out

    def _turned(self, b: Builder, node: Node | None, value: Value, scale: Scale) -> Value:
        signed = scale.dtype == np.int8
        before = _before_transpose(node)
        if before is not None:
            return _flip(b, before, np.uint8) if signed else before
        if node is not None and node.op == "QuantizeLinear" and node.inputs[0] is not None:
            before = _before_transpose(node.inputs[0].producer)
            if signed or before is not None:
                zero = b.constant(np.asarray(scale.unsigned_zero, np.uint8))
                quantised = b.op("QuantizeLinear", node.inputs[0] if before is None else before, node.inputs[1], zero)
                return b.op("Transpose", quantised, perm=LAST) if before is None else quantised
        return b.op("Transpose", _flip(b, value, np.uint8) if signed else value, perm=LAST)

    def _turn_back(self, record: Record) -> None:
        """Gives readers outside of the fused nodes the value with channels first, as the type that it had."""
        value = record.out
        live = self.graph.is_output(value)
        for node, _ in value.uses:
            users = [u for u, _ in node.output.uses] if node.op == "DequantizeLinear" else [node]
            output = node.op == "DequantizeLinear" and self.graph.is_output(node.output)
            if output or any(self.reading.inner.get(u) not in self.done for u in users):
                live = True
        if not live:
            return
        twin = self.twins[value]
        assert twin.producer is not None
        b = self._builder(self.after[twin.producer])
        turned = b.op("Transpose", twin, perm=FIRST)
        if record.scale.dtype == np.int8:
            turned = _flip(b, turned, np.int8)
        take_over(self.graph, value, turned)

    # --- convolutions

    def _conv(self, record: Record) -> None:
        x, weights = record.ins[0], record.weights
        assert weights is not None and x.scale is not None
        w, w_scale, w_zero = weights
        if w.data is None or w.data.ndim != 4 or not _is_image(x.value):
            return
        shifted = _without_zero(w.data, w_zero)
        pads = _pads(record.op, x.value, w.data.shape[2:])
        if shifted is None or pads is None:
            self.context.refuse(record.op, "zero points of the weights, or sizes that are not known")
            return
        filters = w.data.shape[0]
        chain, stages = self._follow(record, filters)
        last = chain[-1]
        source = self._twin(x)
        b = self._builder(last.nodes[-1])
        scale = np.broadcast_to(x.scale.scale * w_scale / record.scale.scale, (filters,)).astype(np.float32)
        bias = np.zeros(filters, np.int32) if record.bias is None else record.bias.reshape(-1).astype(np.int32)
        inputs: list[Value | None] = [source, *(b.constant(np.ascontiguousarray(a)) for a in (shifted, scale, bias))]
        add_stage = -1
        if stages:
            inputs.append(b.constant(np.stack([np.stack([s.gain, s.bias]) for s in stages]).astype(np.float32)))
            inputs.append(b.constant(np.array([[s.low, s.high, s.add_gain] for s in stages], np.float32)))
            add_stage = next((i for i, s in enumerate(stages) if s.add is not None), -1)
            if add_stage >= 0:
                inputs.append(stages[add_stage].add)
        attributes = {
            "strides": list(ints(attr(record.op, "strides"), 2, 1)), "pads": pads,
            "dilations": list(ints(attr(record.op, "dilations"), 2, 1)), "group": int(attr(record.op, "group", 1)),
            "x_zero": x.scale.unsigned_zero, "y_zero": last.scale.unsigned_zero, "low": record.low,
            "high": record.high, "add_stage": add_stage,
        }  # fmt: skip
        node = b.node("QConvNhwc", inputs, attributes, domain=DOMAIN, version=_VERSION)
        if not self.context.owns(node):
            b.discard()
            return
        self.after[node] = b.anchor
        self.done.update(dict.fromkeys(chain, last))
        self._finish(record, last, node.output)

    def _follow(self, record: Record, filters: int) -> tuple[list[Record], list[Stage]]:
        """A convolution and the records behind it that can become stages of it."""
        chain, stages, added = [record], [], False
        while True:
            last = chain[-1]
            users, outside = self.reading.users(last.out)
            if outside or len(users) != 1 or users[0] in self.done:
                return chain, stages
            stage = None
            if users[0].kind == "Affine":
                stage = _affine(users[0], last.scale, filters)
            elif users[0].kind == "Sum" and not added:
                stage = self._sum(record, users[0], last, filters)
                added = stage is not None
            if stage is None:
                return chain, stages
            stages.append(stage)
            chain.append(users[0])

    def _sum(self, first: Record, record: Record, last: Record, filters: int) -> Stage | None:
        other = next((i for i in record.ins if i.value is not last.out), None)
        if other is None or other.value is None or other.scale is None or not _is_image(other.value):
            return None
        maker = other.value.producer
        pending = None if maker is None else self.reading.inner.get(maker)
        if pending is not None and pending not in self.done and self.place[pending] > self.place[first]:
            return None  # a convolution that comes later may take the sum itself
        gain, add_gain = last.scale.scale / record.scale.scale, other.scale.scale / record.scale.scale
        bias = -np.float32(other.scale.unsigned_zero) * add_gain
        full = np.ones(filters, np.float32)
        return Stage(full * gain, full * bias, record.low, record.high, self._twin(other), float(add_gain))


def _affine(record: Record, source: Scale, filters: int) -> Stage | None:
    """Arithmetic with a constant, on values of scale ``source``."""
    constant = next(i.data for i in record.ins if i.data is not None)
    value = next(i.value for i in record.ins if i.value is not None)
    if value.tensor.rank != 4:
        return None
    c = per_channel(constant, 4, filters)
    if c is None:
        return None
    op, reverse = record.op.op.removeprefix("QLinear"), record.ins[0].value is None
    factor, offset = np.ones(filters, np.float32), np.zeros(filters, np.float32)
    if op == "Mul":
        factor = c
    elif op == "Div":
        if not np.all(c):
            return None
        factor = 1 / c
    elif op == "Sub":
        factor, offset = (-factor, c) if reverse else (factor, -c)
    else:
        offset = c
    scale = record.scale.scale
    return Stage(factor * source.scale / scale, offset / scale, record.low, record.high)


def _without_zero(w: Array, zero: Array) -> Array | None:
    """int8 weights whose zero point is 0; None where they do not fit."""
    z = zero.reshape(()) if zero.size == 1 else zero.reshape(-1, *(1,) * (w.ndim - 1))
    shifted = w.astype(np.int16) - z.astype(np.int16)
    fits = shifted.min(initial=0) >= -128 and shifted.max(initial=0) <= 127
    return shifted.astype(np.int8) if fits else None


def _pads(op: Node, x: Value | None, kernel: tuple[int, ...]) -> list[int] | None:
    auto = attr(op, "auto_pad", "NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else str(auto)
    sizes: list[int] = [1, 1]
    if auto.startswith("SAME"):
        shape = None if x is None else x.tensor.shape
        if shape is None or not all(isinstance(d, int) for d in shape[2:]):
            return None
        sizes = [int(d) for d in shape[2:]]  # type: ignore[arg-type]
    strides, dilations = ints(attr(op, "strides"), 2, 1), ints(attr(op, "dilations"), 2, 1)
    pairs = resolve_pads(auto, attr(op, "pads"), sizes, kernel, strides, dilations)
    if any(p < 0 for pair in pairs for p in pair):
        return None
    return [p[0] for p in pairs] + [p[1] for p in pairs]


def _before_transpose(node: Node | None) -> Value | None:
    """The input of a Transpose from channels last to channels first."""
    turns = node is not None and node.op == "Transpose" and attr(node, "perm") == FIRST
    return node.inputs[0] if turns and node is not None else None


def _is_image(value: Value | None) -> bool:
    return value is not None and value.tensor.rank == 4


def _fits(record: Record) -> bool:
    """Whether the result needs no clamping beyond its type's range."""
    return (record.low, record.high) == record.scale.limits


def _flip(b: Builder, value: Value, to: type) -> Value:
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
    if record.ins[0].scale != record.scale or not _fits(record):
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


_LAST = {
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
    if a.scale is None or node is None or node.op != "DequantizeLinear" or not _fits(record):
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
        real = dequantised(op.input(2))
        if real is None or real.data is None:
            return None
        steps = np.rint(real.data.astype(np.float64) / (a.scale.scale.astype(np.float64) * s.data.reshape(-1)))
        if np.abs(steps).max(initial=0) >= 2**30:
            return None
        bias = b.constant(steps.astype(np.int32))
    if transposed and w_zero.data is not None and w_zero.data.size > 1:
        if np.any(w_zero.data):
            return None
        inputs[5] = b.constant(np.zeros((), w.data.dtype))
    return b.op("QGemm", *inputs, bias, y_scale, y_zero, domain=MS, version=1, transB=int(transposed))


_PLAIN = {"Move": _move, "MatMul": _product, "Gemm": _product}
