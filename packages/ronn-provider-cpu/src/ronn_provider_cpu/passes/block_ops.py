"""Which nodes can work on blocked channels, and what they become there: pointwise operators, parts, transposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, ints
from ronn_provider_cpu.kernels.blocked import to_blocks
from ronn_provider_cpu.ops import DOMAIN
from ronn_provider_cpu.passes import block_windows as windows
from ronn_provider_cpu.passes.block_cost import reorder
from ronn_provider_cpu.passes.block_values import Candidate, Get, Layouts, Shape, again

# Operators f with f(0) = 0: they keep the lanes beyond the channels zero.
_KEEP_ZERO = frozenset({
    "Relu", "LeakyRelu", "Abs", "Neg", "Tanh", "HardSwish", "Elu", "Selu", "Celu", "Gelu", "Swish", "Mish", "Softsign",
    "Sqrt", "Sin", "Sign", "Ceil", "Floor", "Round", "Erf", "ThresholdedRelu", "Atan", "Asin", "Sinh", "Tan",
    "Identity",
})  # fmt: skip
_UNARY = _KEEP_ZERO | {"Sigmoid", "HardSigmoid", "Exp", "Log", "Softplus", "Cos", "Cosh", "Reciprocal", "Clip"}
_NARY = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow", "PRelu"})
_NOT_OF_ZEROS = frozenset({"Div", "Pow"})  # f(0, 0) is not 0, but f(0, 1) is
_TO_FIRST, _TO_LAST, _SWAP = (0, 3, 1, 2), (0, 2, 3, 1), (0, 2, 1)


def candidate(node: Node, at: Layouts) -> Candidate | None:
    """How ``node`` works on blocks; None when it cannot. Nodes are asked for in the order of the graph."""
    if node.domain == "ronn":
        return windows.conv(node, at) if node.op == "FusedConv" else None
    found = _BY_OP.get(node.op) if node.domain == "" else _CONVOLUTIONS.get((node.domain, node.op))
    return None if found is None else found(node, at)


Chooser = Callable[[Node, Layouts], Candidate | None]
_CONVOLUTIONS: dict[tuple[str, str], Chooser] = {}


def add_convolution(domain: str, op: str, chooser: Chooser) -> None:
    """Makes another provider's convolution known, and how it works on blocks."""
    _CONVOLUTIONS[domain, op] = chooser


def is_convolution(node: Node) -> bool:
    """Whether a region of blocks may stand for the sake of a node."""
    return node.op in ("Conv", "FusedConv", "ConvTranspose") or (node.domain, node.op) in _CONVOLUTIONS


# --- pointwise


def _unary(node: Node, at: Layouts) -> Candidate | None:
    x, shape = node.inputs[0], at.shape(node.inputs[0])
    if x is None or shape is None or any(v is not None and v.data is None for v in node.inputs[1:]):
        return None
    if node.op not in _KEEP_ZERO and at.is_ragged(shape) and not _clips_around_zero(node):
        return None
    at.follow(node, x)

    def make(b: Builder, get: Get) -> Sequence[Value]:
        return again(node, b, [get(x), *node.inputs[1:]], node.attributes)

    return Candidate(node, (x,), (node.output,), make)


def _clips_around_zero(node: Node) -> bool:
    if node.op != "Clip":
        return False
    bounds = [node.attributes.get("min"), node.attributes.get("max")]
    for i, value in enumerate((node.input(1), node.input(2))):
        if value is not None:
            if value.data is None or value.data.size != 1:
                return False
            bounds[i] = float(value.data.reshape(-1)[0])
    low, high = bounds
    return (low is None or low <= 0) and (high is None or high >= 0)


def _nary(node: Node, at: Layouts) -> Candidate | None:
    if node.op not in ("Sum", "Mean", "Max", "Min") and node.version < 7:
        return None
    computed = [v for v in node.inputs if v is not None and v.data is None]
    last = any(v in at.last for v in computed)
    if last and not all(v in at.last for v in computed):
        return None
    if last:
        at.last.add(node.output)
    shape, rank = at.shape(node.output), node.output.tensor.rank
    if shape is None or rank is None or any(v.tensor.rank != rank for v in computed):
        return None
    ragged = at.is_ragged(shape)
    constants: dict[int, np.ndarray] = {}
    spread: dict[int, Shape] = {}  # one channel for all: inputs of the shape [N, 1, H, W]
    reads: list[Value] = []
    for i, value in enumerate(node.inputs):
        if value is None or value.dtype is not DType.FLOAT32:
            return None
        if value.data is not None:
            found = _constant(node, i, value.data, shape[1], rank, last, at.lanes)
            if found is None:
                return None
            constants[i] = found
            continue
        own = at.shape(value)
        if own is None:
            return None
        if own[1] == shape[1] and (own[1] > 1 or own == shape):
            reads.append(value)
        elif own[1] == 1 and (not ragged or (node.op == "Mul" and len(node.inputs) == 2)):
            spread[i] = own
        else:
            return None
    if not any(at.shape(v) == shape for v in reads):
        return None
    if ragged and node.op in _NOT_OF_ZEROS and list(constants) != [1]:
        return None

    def make(b: Builder, get: Get) -> Sequence[Value]:
        inputs: list[Value | None] = []
        for i, value in enumerate(node.inputs):
            assert value is not None
            if i in constants:
                inputs.append(b.constant(constants[i], value.name))
            elif i in spread:
                n, _, h, w = spread[i]
                inputs.append(b.op("Reshape", value, b.constant([n, 1, h, w, 1]), version=max(b.version, 5)))
            else:
                inputs.append(get(value))
        return again(node, b, inputs, node.attributes)

    return Candidate(node, tuple(dict.fromkeys(reads)), (node.output,), make)


def _constant(
    node: Node, index: int, data: np.ndarray, channels: int, rank: int, last: bool, lanes: int
) -> np.ndarray | None:
    """A constant operand for blocks: with it, zeros stay zero in the lanes beyond the channels."""
    if data.ndim > rank:
        return None
    data = data.reshape((1,) * (rank - data.ndim) + data.shape)
    if rank == 3:
        data = data[:, None] if last else data[:, :, None]
    if last:
        data = data.transpose(_TO_FIRST)
    if data.shape[1] == 1:
        if channels % lanes == 0:
            return np.ascontiguousarray(data[..., None]) if data.size > 1 else data.reshape(())
        data = np.broadcast_to(data, (data.shape[0], channels, *data.shape[2:]))
    if data.shape[1] != channels:
        return None
    return to_blocks(np.ascontiguousarray(data), lanes, fill=1.0 if node.op in _NOT_OF_ZEROS and index == 1 else 0.0)


def _batch_norm(node: Node, at: Layouts) -> Candidate | None:
    x, shape = node.inputs[0], at.first(node.inputs[0])
    parameters = [v.data for v in node.inputs[1:5] if v is not None and v.data is not None]
    if x is None or shape is None or len(parameters) != 4 or any(p.shape != (shape[1],) for p in parameters):
        return None
    if attr(node, "training_mode", 0) or any(v.name and v.uses for v in node.outputs[1:]):
        return None
    scale, shift, mean, variance = (p.astype(np.float64) for p in parameters)
    factor = scale / np.sqrt(variance + float(attr(node, "epsilon", 1e-5)))
    terms = [to_blocks(v.astype(np.float32).reshape(1, -1, 1, 1), at.lanes) for v in (factor, shift - mean * factor)]

    def make(b: Builder, get: Get) -> Sequence[Value]:
        version = max(b.version, 7)
        scaled = b.op("Mul", get(x), b.constant(terms[0], "scale"), version=version)
        return (b.op("Add", scaled, b.constant(terms[1], "shift"), version=version),)

    return Candidate(node, (x,), (node.output,), make)


# --- parts and copies


def _concat(node: Node, at: Layouts) -> Candidate | None:
    parts = [v for v in node.inputs if v is not None]
    shapes = [s for v in parts if (s := at.shape(v)) is not None]
    if len({v in at.last for v in parts}) != 1 or len(shapes) != len(parts):
        return None
    at.follow(node, parts[0])
    axis = at.axis(parts[0], int(attr(node, "axis", 1)))
    if axis == 0:
        return None
    whole = axis != 1 or not any(map(at.is_ragged, shapes[:-1]))

    def make(b: Builder, get: Get) -> Sequence[Value]:
        inputs = [get(v) for v in parts]
        if whole:
            return again(node, b, inputs, {"axis": axis})
        sizes = [s[1] for s in shapes]
        return (_regroup(b, at.lanes, inputs, sizes, [0] * len(sizes), sizes),)

    return Candidate(node, tuple(dict.fromkeys(parts)), (node.output,), make)


def _regroup(
    b: Builder, lanes: int, inputs: Sequence[Value], channels: list[int], starts: list[int], sizes: list[int]
) -> Value:
    attributes = {"lanes": lanes, "channels": channels, "starts": starts, "sizes": sizes}
    return b.node("Regroup", inputs, attributes, domain=DOMAIN, version=1).output


def _split(node: Node, at: Layouts) -> Candidate | None:
    x, shape = node.inputs[0], at.shape(node.inputs[0])
    if x is None or shape is None or at.axis(x, int(attr(node, "axis", 0))) != 1:
        return None
    at.follow(node, x)
    outs = [s for v in node.outputs if (s := at.shape(v)) is not None]
    if len(outs) != len(node.outputs):
        return None
    whole = not any(map(at.is_ragged, outs[:-1]))
    parts = [-(-s[1] // at.lanes) for s in outs]

    def make(b: Builder, get: Get) -> Sequence[Value]:
        if whole and node.version >= 13:
            return again(node, b, [get(x), b.constant(parts)], {"axis": 1})
        if whole:
            return again(node, b, [get(x)], {"axis": 1, "split": parts})
        starts = np.cumsum([0, *(s[1] for s in outs)]).tolist()
        return [
            _regroup(b, at.lanes, [get(x)], [shape[1]], [start], [s[1]])
            for start, s in zip(starts, outs, strict=False)
        ]  # fmt: skip

    return Candidate(node, (x,), node.outputs, make)


def _slice(node: Node, at: Layouts) -> Candidate | None:
    x, shape = node.inputs[0], at.shape(node.inputs[0])
    starts, ends = (ints(node.input(i)) for i in (1, 2))
    if x is None or shape is None or node.version < 10 or not starts or ends is None:
        return None
    axes = list(range(len(starts))) if node.input(3) is None else ints(node.input(3))
    steps = [1] * len(starts) if node.input(4) is None else ints(node.input(4))
    at.follow(node, x)
    if axes is None or steps is None or at.shape(node.output) is None:
        return None
    rows, channels = [], (0, shape[1])
    for start, end, axis, step in zip(starts, ends, (at.axis(x, a) for a in axes), steps, strict=True):
        if axis != 1:
            rows.append((start, end, axis, step))
            continue
        first, behind, by = slice(start, end, step).indices(shape[1])
        if by != 1:
            return None
        channels = first, behind
    whole = channels[0] % at.lanes == 0 and (channels[1] % at.lanes == 0 or channels[1] == shape[1])
    if whole and channels != (0, shape[1]):
        rows.append((channels[0] // at.lanes, -(-channels[1] // at.lanes), 1, 1))

    def make(b: Builder, get: Get) -> Sequence[Value]:
        source = get(x)
        if not whole:
            source = _regroup(b, at.lanes, [source], [shape[1]], [channels[0]], [channels[1] - channels[0]])
        if not rows:
            return (source,)
        return again(node, b, [source, *(b.constant(list(column)) for column in zip(*rows, strict=True))], {})

    return Candidate(node, (x,), (node.output,), make)


def _pad(node: Node, at: Layouts) -> Candidate | None:
    x, shape, fill = node.inputs[0], at.shape(node.inputs[0]), node.input(2)
    pads = ints(node.input(1)) if node.version >= 11 else node.attributes.get("pads")
    if x is None or shape is None or pads is None or node.input(3) is not None:
        return None
    rank = len(pads) // 2
    if rank != x.tensor.rank:
        return None
    if fill is not None and fill.data is None:
        return None
    at.follow(node, x)
    value = float(attr(node, "value", 0.0)) if fill is None or fill.data is None else float(fill.data.reshape(-1)[0])
    wide = [0] * 10
    for i, pad in enumerate(pads):
        wide[at.axis(x, i % rank) + 5 * (i // rank)] = int(pad)
    if wide[0] or wide[1] or wide[5] or wide[6] or (value != 0 and at.is_ragged(shape)):
        return None
    if at.shape(node.output) is None:
        return None

    def make(b: Builder, get: Get) -> Sequence[Value]:
        if node.version >= 11:
            return again(node, b, [get(x), b.constant(wide), *node.inputs[2:3]], node.attributes)
        return again(node, b, [get(x)], {**node.attributes, "pads": wide})

    return Candidate(node, (x,), (node.output,), make)


def _view(node: Node, at: Layouts) -> Candidate | None:
    """Squeeze, Unsqueeze, Flatten and Reshape that leave images and channels alone: pixels count as they did."""
    x, shape = node.inputs[0], at.shape(node.inputs[0])
    if x is None or shape is None:
        return None
    at.follow(node, x)
    out = at.shape(node.output)
    if out is None or out[:2] != shape[:2]:
        at.last.discard(node.output)
        return None

    def make(b: Builder, get: Get) -> Sequence[Value]:
        if out[2:] == shape[2:]:
            return (get(x),)
        wanted = b.constant([out[0], -(-out[1] // at.lanes), out[2], out[3], at.lanes])
        return (b.op("Reshape", get(x), wanted, version=max(b.version, 5)),)

    return Candidate(node, (x,), (node.output,), make)


def _transpose(node: Node, at: Layouts) -> Candidate | None:
    """Between the two plain layouts: nothing to do in blocks."""
    x, perm = node.inputs[0], tuple(node.attributes.get("perm") or ())
    if x is None or perm not in (_TO_FIRST, _TO_LAST, _SWAP):
        return None
    if perm == _SWAP:
        # Either way round. What may be in blocks has its channels on axis 1, unless it is known to have them last.
        perm = _TO_LAST if x in at.used and x not in at.last else _TO_FIRST
    if perm == _TO_LAST:
        if at.first(x) is None:
            return None
        at.last.add(node.output)
    elif x not in at.last:
        if x in at.used:
            return None  # as a value with its channels on axis 1
        at.last.add(x)
    shape = at.shape(x)
    if shape is None:
        return None
    return Candidate(node, (x,), (node.output,), lambda b, get: (get(x),), reorder(shape, at.lanes))


_BY_OP: dict[str, Chooser] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_NARY, _nary),
    **dict.fromkeys(("MaxPool", "AveragePool"), windows.pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), windows.global_pool),
    **dict.fromkeys(("ReduceMean", "ReduceMax"), windows.reduce),
    **dict.fromkeys(("Resize", "Upsample"), windows.resize),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Flatten", "Reshape"), _view),
    "Conv": windows.conv, "ConvTranspose": windows.conv_transpose, "BatchNormalization": _batch_norm,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Pad": _pad, "Transpose": _transpose,
}  # fmt: skip
