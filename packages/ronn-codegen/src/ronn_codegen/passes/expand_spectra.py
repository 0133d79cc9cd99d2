"""DFT and STFT of moderate length as products with constant matrices, which native kernels take."""

from __future__ import annotations

import math

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.ops.schema import schema_of
from ronn.passes.edit import Builder, attr, remove_dead, scalar, take_over, walk
from ronn.passes.manager import PassContext, define_pass

LARGEST = 1 << 20
"""Elements of a matrix at most: beyond, a fast transform is faster."""
_FLOATS = (DType.FLOAT32, DType.FLOAT64)


@define_pass("expand-spectra", requires_types=True, keeps_types=True)
def expand_spectra(graph: Graph, context: PassContext) -> bool:
    """Makes a MatMul of a DFT, and a Conv whose filters are windowed waves of an STFT."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.op in ("DFT", "STFT") and node.domain == "" and context.owns(node):
            x = node.inputs[0]
            if x is not None and x.dtype in _FLOATS and x.tensor.is_static and x.tensor.size:
                changed |= (_dft if node.op == "DFT" else _stft)(owner, node, x, context)
    return changed


def waves(inputs: int, length: int, parts: int, inverse: bool, onesided: bool) -> np.ndarray:
    """What a transform of ``length`` does to ``inputs`` numbers of ``parts`` parts (real, imaginary): float64[inputs *
    parts, outputs * parts of these]. The inverse of half a spectrum is real."""
    half, real = length // 2 + 1, inverse and onesided
    outputs = length if real or not onesided else half
    used = min(inputs, half if real else length)
    angle = np.outer(np.arange(inputs), np.arange(outputs)) % length * (2 * math.pi / length)
    cosine, sine = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    made = np.zeros((inputs, parts, outputs, 1 if real else 2))
    made[:, 0, :, 0] = cosine
    if not real:
        made[:, 0, :, 1] = sine
    if parts == 2:
        made[:, 1, :, 0] = -sine
        if not real:
            made[:, 1, :, 1] = cosine
    made[used:] = 0
    if real:  # all but the first and the middle stand for two
        made[1 : (length + 1) // 2] *= 2
    if inverse:
        made /= length
    return made.reshape(inputs * parts, -1)


def _number(value: Value | None) -> int | None:
    found = scalar(value)
    return None if found is None else int(found)


def _dft(graph: Graph, node: Node, x: Value, context: PassContext) -> bool:
    shape, schema = x.tensor.static_shape, schema_of(node)
    rank, parts = len(shape), shape[-1]
    new = schema is not None and schema.since >= 20
    given = node.input(2) if new else None
    axis = int(attr(node, "axis", 1)) if not new else -2 if given is None else _number(given)
    inverse, onesided = bool(attr(node, "inverse", 0)), bool(attr(node, "onesided", 0))
    if axis is None or parts not in (1, 2) or (onesided and not inverse and parts == 2):
        return False
    if inverse and not onesided:  # onnx's tests expect 2e-7 for 0 there, the rounding of a fast transform
        return False
    axis %= rank
    length = _number(node.input(1)) if node.input(1) is not None else None
    if node.input(1) is None:
        length = 2 * (shape[axis] - 1) if inverse and onesided else shape[axis]
    if length is None or length < 1 or axis == rank - 1 or shape[axis] * parts * length * 2 > LARGEST:
        return False
    matrix = waves(shape[axis], length, parts, inverse, onesided)
    out = 1 if inverse and onesided else 2
    matrix = matrix.astype(np.float64 if x.dtype is DType.FLOAT64 else np.float32)
    b = Builder(graph, node, context)
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    back = [order.index(i) for i in range(rank)]
    moved = x if order == back == list(range(rank)) else b.op("Transpose", x, perm=order)
    rows = b.op("Reshape", moved, b.constant(np.array([-1, shape[axis] * parts], np.int64)))
    y = b.op("MatMul", rows, b.constant(matrix))
    laid = [*(shape[i] for i in order[:-2]), matrix.shape[1] // out, out]
    y = b.op("Reshape", y, b.constant(np.array(laid, np.int64)))
    return _finish(graph, node, b, y if moved is x else b.op("Transpose", y, perm=back), context)


def _stft(graph: Graph, node: Node, x: Value, context: PassContext) -> bool:
    shape, window = x.tensor.static_shape, node.input(2)
    step, length = _number(node.input(1)), _number(node.input(3)) if node.input(3) is not None else None
    if step is None or step < 1 or (len(shape) == 3 and shape[2] != 1) or (window is not None and window.data is None):
        return False
    if window is not None:
        assert window.data is not None
        length = window.data.size
    elif node.input(3) is None:
        length = shape[1]
    if length is None or not 0 < length <= shape[1] or length * length * 2 > LARGEST:
        return False
    matrix = waves(length, length, 1, False, bool(attr(node, "onesided", 1)))
    if window is not None:
        assert window.data is not None
        matrix = matrix * window.data.reshape(-1, 1).astype(np.float64)
    if x.dtype is not DType.FLOAT32:
        return False
    b = Builder(graph, node, context)
    signal = b.op("Reshape", x, b.constant(np.array([shape[0], 1, shape[1]], np.int64)))
    filters = np.ascontiguousarray(matrix.T[:, None, :].astype(np.float32))
    y = b.op("Conv", signal, b.constant(filters), kernel_shape=[length], strides=[step])
    y = b.op("Transpose", y, perm=[0, 2, 1])
    frames, bins = (shape[1] - length) // step + 1, matrix.shape[1] // 2
    y = b.op("Reshape", y, b.constant(np.array([shape[0], frames, bins, 2], np.int64)))
    return _finish(graph, node, b, y, context)


def _finish(graph: Graph, node: Node, b: Builder, y: Value, context: PassContext) -> bool:
    take_over(graph, node.outputs[0], y)
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
    return True
