"""Quantised graphs on bytes: integer operators for ``DequantizeLinear -> op -> QuantizeLinear``, channels last.

A chain of a convolution, arithmetic with constants per channel, the sum with another tensor, and clamping becomes one
``QConvNhwc``. Every value between such nodes is unsigned bytes, channels last: its *twin*. Where something else reads a
value, it is turned back.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, graphs, remove_dead, take_over
from ronn.passes.manager import PassContext, define_pass
from ronn.records import dataclass, field
from ronn_codegen.passes._quantised import Reading, Real, Record, Scale, per_channel
from ronn_codegen.passes._quantised_nodes import PLAIN, fits
from ronn_codegen.windows import ints, resolve_pads
from ronn_provider_cpu.passes._quantised_nodes import FIRST, LAST, ON_TWINS, flip
from ronn_provider_cpu.quantised_ops import DOMAIN

Array = np.ndarray
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
            if record in self.done or not self.context.owns(record.op):
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
        near = any(i.value in self.made for i in record.ins)  # an operand has a twin, and not only for this
        if kind == "Pad":
            kind = "PadLast" if near else "Move"
        if kind == "Sum" and not near:
            kind = "SumAnywhere"
        if kind == "Conv":
            self._conv(record)
        elif kind in PLAIN:
            self._plain(record, kind)
        elif kind in ON_TWINS and all(_is_image(i.value) for i in record.ins) and fits(record):
            xs = [self._twin(i) for i in record.ins]
            b = self._builder(record.nodes[-1])
            value = ON_TWINS[kind](b, record, xs)
            if value is not None:
                self.after.update(dict.fromkeys(b.nodes, b.anchor))
                self._finish(record, record, value)

    def _plain(self, record: Record, kind: str) -> None:
        b = self._builder(record.nodes[-1])
        value = PLAIN[kind](b, record)
        if value is None:
            b.discard()
            return
        self.after.update(dict.fromkeys(b.nodes, b.anchor))
        self.context.rewrote(b.nodes, detail=record.op.label)
        self.changed = True
        self.done[record] = record
        self._replace(record, value)

    def _replace(self, record: Record, value: Value) -> None:
        """``value`` takes the place of what ``record`` makes, layout and type as they were."""
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
            return flip(b, before, np.uint8) if signed else before
        if node is not None and node.op == "QuantizeLinear" and node.inputs[0] is not None:
            before = _before_transpose(node.inputs[0].producer)
            if signed or before is not None:
                zero = b.constant(np.asarray(scale.unsigned_zero, np.uint8))
                quantised = b.op("QuantizeLinear", node.inputs[0] if before is None else before, node.inputs[1], zero)
                return b.op("Transpose", quantised, perm=LAST) if before is None else quantised
        return b.op("Transpose", flip(b, value, np.uint8) if signed else value, perm=LAST)

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
            turned = flip(b, turned, np.int8)
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
        chain, stages, turned = self._follow(record, filters)
        last = chain[-1]
        source = self._twin(x)
        b = self._builder(last.nodes[-1])
        scale = np.broadcast_to(x.scale.scale * w_scale / record.scale.scale, (filters,)).astype(np.float32)
        bias = np.zeros(filters, np.int32) if record.bias is None else record.bias.reshape(-1).astype(np.int32)
        kept = w if shifted is w.data else b.constant(shifted)
        inputs: list[Value | None] = [source, kept, b.constant(scale), b.constant(bias)]
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
        if turned:
            signed = last.scale.dtype == np.int8
            self._replace(last, flip(b, node.output, np.int8) if signed else node.output)
            self.after.update(dict.fromkeys(b.nodes, b.anchor))
            self.context.rewrote([node], detail=record.op.label)
            self.changed = True
        else:
            self._finish(record, last, node.output)

    def _follow(self, record: Record, filters: int) -> tuple[list[Record], list[Stage], bool]:
        """A convolution and the records behind it that can become stages of it, a Transpose to channels last among
        them; whether there is one."""
        chain, turned, added = [record], False, False
        stages: list[Stage] = []
        while True:
            last = chain[-1]
            users, outside = self.reading.users(last.out)
            if outside or len(users) != 1 or users[0] in self.done:
                return chain, stages, turned
            user = users[0]
            if user.kind == "Move" and not turned and _turns_last(user.op):
                turned = True
                chain.append(user)
                continue
            stage = None
            if user.kind == "Affine":
                stage = _affine(user, last.scale, filters, 3 if turned else 1)
            elif user.kind == "Sum" and not added:
                stage = self._sum(record, user, last, filters, turned)
                added = stage is not None
            if stage is None:
                return chain, stages, turned
            stages.append(stage)
            chain.append(user)

    def _sum(self, first: Record, record: Record, last: Record, filters: int, turned: bool) -> Stage | None:
        other = next((i for i in record.ins if i.value is not last.out), None)
        if other is None or other.value is None or other.scale is None or not _is_image(other.value):
            return None
        maker = other.value.producer
        pending = None if maker is None else self.reading.inner.get(maker)
        if pending is not None and pending not in self.done and self.place[pending] > self.place[first]:
            return None  # a convolution that comes later may take the sum itself
        twin = self._as_it_is(other) if turned else self._twin(other)
        gain, add_gain = last.scale.scale / record.scale.scale, other.scale.scale / record.scale.scale
        bias = -np.float32(other.scale.unsigned_zero) * add_gain
        full = np.ones(filters, np.float32)
        return Stage(full * gain, full * bias, record.low, record.high, twin, float(add_gain))

    def _as_it_is(self, real: Real) -> Value:
        """An operand that has channels last already, as unsigned bytes."""
        value = real.value
        assert value is not None and real.scale is not None
        node = value.producer
        source = node.inputs[0] if node is not None and _turns_last(node) else None
        if source is not None and source in self.twins:
            return self.twins[source]
        if real.scale.dtype == np.uint8:
            return value
        b = self._builder(next(iter(self.graph)) if node is None else self.after[node])
        flipped = flip(b, value, np.uint8)
        self.after.update(dict.fromkeys(b.nodes, b.anchor))
        return flipped


def _turns_last(node: Node) -> bool:
    return node.op == "Transpose" and attr(node, "perm") == LAST


def _affine(record: Record, source: Scale, filters: int, axis: int) -> Stage | None:
    """Arithmetic with a constant, on values of scale ``source``."""
    constant = next(i.data for i in record.ins if i.data is not None)
    value = next(i.value for i in record.ins if i.value is not None)
    if value.tensor.rank != 4:
        return None
    c = per_channel(constant, 4, filters, axis)
    if c is None:
        return None
    op, reverse = record.op.op.removeprefix("QLinear"), record.ins[0].value is None
    factor: Array = np.ones(filters, np.float32)
    offset: Array = np.zeros(filters, np.float32)
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
    if w.dtype == np.int8 and not zero.any():
        return w
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
