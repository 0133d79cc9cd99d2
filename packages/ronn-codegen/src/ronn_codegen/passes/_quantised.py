"""A graph read as operators between quantised tensors: ``DequantizeLinear -> op -> QuantizeLinear``, ``QLinear*``."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import attr, const
from ronn.records import dataclass, field

Array = np.ndarray
MS = "com.microsoft"
_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
_BINARY = {"Add", "Sub", "Mul", "Div"}
_WINDOWED = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "MatMul", "Gemm"}
_RAW = {"MaxPool": "MaxPool", "Pad": "Pad", "Transpose": "Move"}  # what QOperator models have on bytes
_MOVES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Slice", "Identity"}


@dataclass(frozen=True)
class Scale:
    """How bytes stand for reals: ``(q - zero) * scale``."""

    scale: np.float32
    zero: int
    dtype: np.dtype

    @property
    def unsigned_zero(self) -> int:
        """The zero point once the bytes are unsigned."""
        return self.zero + (128 if self.dtype == np.int8 else 0)

    @property
    def limits(self) -> tuple[float, float]:
        """What bytes less the zero point can be."""
        low = -128 if self.dtype == np.int8 else 0
        return float(low - self.zero), float(low + 255 - self.zero)


@dataclass(frozen=True)
class Real:
    """An operand: a quantised value with its scale, or a constant array of reals."""

    value: Value | None
    scale: Scale | None = None
    data: Array | None = None


@dataclass(eq=False)
class Record:
    """One quantised operator. ``nodes`` are what it is made of, the one that makes ``out`` last."""

    kind: str
    op: Node
    nodes: tuple[Node, ...]
    ins: list[Real]
    out: Value
    scale: Scale
    low: float  # limits of the result less the zero point
    high: float
    weights: tuple[Value, Array, Array] | None = None  # w, its scales, its zero points
    bias: Array | None = None  # int32


@dataclass
class Reading:
    """The records of a graph in its order, and what each value is used for."""

    graph: Graph
    records: list[Record] = field(default_factory=list)
    inner: dict[Node, Record] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Reading:
        found = cls(graph)
        scales: dict[Value, Scale] = {}  # of the values so far whose scale is known
        for node in graph:
            if node.op == "QuantizeLinear":
                record = _from_quantize(node, graph)
                scale = scale_of(node, 1, 2)
                if scale is not None:
                    scales[node.output] = scale
            else:
                record = _on_bytes(node, scales) if node.domain == "" and node.op in _RAW else _from_qlinear(node)
            if record is not None:
                scales[record.out] = record.scale
                found.records.append(record)
                found.inner.update(dict.fromkeys(record.nodes, record))
        return found

    def users(self, value: Value) -> tuple[list[Record], bool]:
        """The records that read a quantised value, once a use, and whether anything else does."""
        found: list[Record] = []
        outside = self.graph.is_output(value)
        for node, index in value.uses:
            if node.op == "DequantizeLinear" and index == 0:
                outside = outside or self.graph.is_output(node.output)
                users = [u for u, _ in node.output.uses]
            else:
                users = [node]
            for user in users:
                record = self.inner.get(user)
                if record is None:
                    outside = True
                else:
                    found.append(record)
        return found, outside


def scale_of(node: Node, scale: int, zero: int, dtype: np.dtype | None = None) -> Scale | None:
    """A scale for all of a tensor among the inputs of ``node``; None for one that is not constant, or per axis."""
    s, z = const(node.input(scale)), const(node.input(zero))
    if s is None or s.size != 1 or s.dtype != np.float32 or (node.input(zero) is not None and z is None):
        return None
    if z is None:
        return None if dtype is None else Scale(np.float32(s.reshape(-1)[0]), 0, dtype)
    if z.size != 1 or z.dtype not in _BYTES:
        return None
    return Scale(np.float32(s.reshape(-1)[0]), int(z.reshape(-1)[0]), z.dtype)


def dequantised(value: Value | None) -> Real | None:
    """The operand that ``value`` (float32) is, None when it is computed in float32."""
    if value is None:
        return None
    if value.data is not None:
        return Real(None, data=value.data) if value.data.dtype == np.float32 else None
    node = value.producer
    if node is None or node.op != "DequantizeLinear" or attr(node, "block_size", 0):
        return None
    source = node.inputs[0]
    if source is None:
        return None
    if source.data is not None:
        data = _dequantise(node, source.data)
        return None if data is None else Real(None, data=data)
    dtype = None if source.dtype is None else source.dtype.numpy
    scale = scale_of(node, 1, 2, np.dtype(np.uint8) if dtype == np.uint8 else dtype)
    return None if scale is None or dtype not in _BYTES else Real(source, scale)


def _dequantise(node: Node, data: Array) -> Array | None:
    s, z = const(node.input(1)), const(node.input(2))
    if s is None or s.dtype != np.float32 or (node.input(2) is not None and z is None) or data.dtype.kind not in "iu":
        return None
    axis = int(attr(node, "axis", 1))
    shape = [-1 if i == axis % max(data.ndim, 1) else 1 for i in range(data.ndim)]

    def spread(p: Array) -> Array:
        return p.reshape(()) if p.size == 1 else p.reshape(shape)

    wide = data.astype(np.float32)
    if z is not None:
        wide = wide - spread(z).astype(np.float32)
    return np.asarray(wide * spread(s), np.float32)


# --- DequantizeLinear -> op -> QuantizeLinear


def _from_quantize(node: Node, graph: Graph) -> Record | None:
    x = node.inputs[0]
    scale = scale_of(node, 1, 2)
    if x is None or scale is None or x.producer is None or attr(node, "block_size", 0):
        return None
    low, high = scale.limits
    nodes: list[Node] = [node]
    op = x.producer
    while op.op in ("Relu", "Clip") and _only(op, graph):
        bounds = _bounds(op)
        if bounds is None:
            return None
        low = max(low, float(np.rint(np.float32(bounds[0]) / scale.scale)))
        high = min(high, float(np.rint(np.float32(bounds[1]) / scale.scale)))
        nodes.insert(0, op)
        before = op.inputs[0]
        if before is None or before.producer is None:
            return None
        op = before.producer
    if low > high or op.domain != "" or not _only(op, graph) or len([o for o in op.outputs if o.name]) != 1:
        return None
    nodes.insert(0, op)
    made = Record(op.op, op, tuple(nodes), [], node.output, scale, low, high)
    if op.op == "Conv":
        return _with_weights(made, op)
    if op.op in _MOVES:
        first = dequantised(op.inputs[0])
        if first is None or first.scale != scale or (low, high) != scale.limits:
            return None
        made.kind, made.ins = "Pad" if op.op == "Pad" else "Move", [first]
        return made
    if op.op in _BINARY or op.op in _WINDOWED:
        ins = [dequantised(v) for v in op.inputs[: 2 if op.op == "MatMul" or op.op in _BINARY else None]]
        if op.op in ("MatMul", "Gemm"):
            ins = ins[:1]
        if any(i is None for i in ins):
            return None
        made.ins = [i for i in ins if i is not None]
        return _classified(made)
    return None


def _only(op: Node, graph: Graph) -> bool:
    """Whether the first output of ``op`` has one use and is no graph output."""
    return len(op.output.uses) == 1 and not graph.is_output(op.output)


def _bounds(op: Node) -> tuple[float, float] | None:
    if op.op == "Relu":
        return 0.0, np.inf
    found = [op.attributes.get("min"), op.attributes.get("max")]
    for i in (1, 2):
        given = op.input(i)
        if given is not None:
            data = const(given)
            if data is None or data.size != 1:
                return None
            found[i - 1] = float(data.reshape(-1)[0])
    return (-np.inf if found[0] is None else float(found[0])), (np.inf if found[1] is None else float(found[1]))


def integer_bias(value: Value | None, steps: np.ndarray) -> np.ndarray | None:
    """A constant bias in int32 in units of ``steps``, the scale (float64) of the sums it joins; None if it has none."""
    real = dequantised(value)
    if real is None or real.data is None:
        return None
    bias = np.rint(real.data.astype(np.float64) / steps)
    return None if np.abs(bias).max(initial=0) >= 2**30 else bias.astype(np.int32)


def _with_weights(made: Record, op: Node) -> Record | None:
    x = dequantised(op.inputs[0])
    source = op.inputs[1]
    node = None if source is None else source.producer
    if x is None or x.scale is None or node is None or node.op != "DequantizeLinear" or node.inputs[0] is None:
        return None
    w, w_scale, w_zero = node.inputs[0], const(node.input(1)), const(node.input(2))
    if w.data is None or w.data.dtype not in _BYTES or w_scale is None or w_scale.dtype != np.float32:
        return None
    if w_scale.size > 1 and int(attr(node, "axis", 1)) % w.data.ndim != 0:
        return None
    bias = None
    if op.input(2) is not None:
        bias = integer_bias(op.input(2), x.scale.scale.astype(np.float64) * w_scale.reshape(-1))
        if bias is None:
            return None
    made.ins, made.bias = [x], bias
    made.weights = (w, w_scale.reshape(-1), np.zeros((), w.data.dtype) if w_zero is None else w_zero)
    return made


def _classified(made: Record) -> Record | None:
    """``Affine`` for arithmetic with a constant, ``Sum`` for the sum of two tensors; None for other arithmetic."""
    if made.kind not in _BINARY:
        return made
    tensors = [i for i in made.ins if i.value is not None]
    if len(tensors) == 1:
        made.kind = "Affine"
        return made if made.op.op != "Div" or made.ins[1].value is None else None
    if len(tensors) == 2 and made.kind == "Add" and _same_shape(*tensors):
        made.kind = "Sum"
        return made
    return None


def _same_shape(a: Real, b: Real) -> bool:
    assert a.value is not None and b.value is not None
    return a.value.tensor.shape is not None and a.value.tensor.shape == b.value.tensor.shape


# --- QLinear operators


def _on_bytes(node: Node, scales: dict[Value, Scale]) -> Record | None:
    """A node that works on bytes as on reals."""
    x = node.inputs[0]
    scale = None if x is None else scales.get(x)
    if x is None or scale is None or len([o for o in node.outputs if o.name]) != 1:
        return None
    return Record(_RAW[node.op], node, (node,), [Real(x, scale)], node.output, scale, *scale.limits)


def _from_qlinear(node: Node) -> Record | None:
    if node.op == "QLinearConv" and node.domain == "":
        x, out = _operand(node, 0), scale_of(node, 6, 7)
        w, s, z, bias = node.inputs[3], const(node.input(4)), const(node.input(5)), const(node.input(8))
        if x is None or x.value is None or out is None or w is None or w.data is None or s is None or z is None:
            return None
        if node.input(8) is not None and bias is None:
            return None
        return Record("Conv", node, (node,), [x], node.output, out, *out.limits, (w, s.reshape(-1), z), bias)
    if node.domain != MS or not node.op.startswith("QLinear"):
        return None
    if node.op in ("QLinearAdd", "QLinearMul"):
        a, b, out = _operand(node, 0), _operand(node, 3), scale_of(node, 6, 7)
        if a is None or b is None or out is None:
            return None
        return _classified(Record(node.op[7:], node, (node,), [a, b], node.output, out, *out.limits))
    if node.op in ("QLinearAveragePool", "QLinearGlobalAveragePool") and not attr(node, "channels_last", 0):
        x, out = _operand(node, 0), scale_of(node, 3, 4)
        return (
            None if x is None or out is None else Record(node.op[7:], node, (node,), [x], node.output, out, *out.limits)
        )
    if node.op == "QLinearConcat":
        ins, out = [_operand(node, i) for i in range(2, len(node.inputs), 3)], scale_of(node, 0, 1)
        if out is None or any(i is None or i.value is None for i in ins):
            return None
        return Record("Concat", node, (node,), [i for i in ins if i is not None], node.output, out, *out.limits)
    return None


def _operand(node: Node, index: int) -> Real | None:
    value = node.inputs[index]
    if value is None:
        return None
    dtype = value.data.dtype if value.data is not None else None if value.dtype is None else value.dtype.numpy
    scale = scale_of(node, index + 1, index + 2, dtype)
    if scale is None:
        return None
    if value.data is not None:
        return Real(None, data=((value.data.astype(np.float32) - np.float32(scale.zero)) * scale.scale))
    return Real(value, scale)


def per_channel(data: Array, rank: int, channels: int, axis: int = 1) -> Array | None:
    """A constant that varies along ``axis`` at most, as f32[channels]; None for another."""
    wide = data.reshape((1,) * (rank - data.ndim) + data.shape) if data.ndim <= rank else None
    if wide is None or any(d != 1 for i, d in enumerate(wide.shape) if i != axis):
        return None
    if wide.shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(wide.reshape(-1), (channels,)).astype(np.float32)
