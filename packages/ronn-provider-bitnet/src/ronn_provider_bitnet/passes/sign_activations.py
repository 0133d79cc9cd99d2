"""Finds activations that are signs: values of which an element is -f, f and perhaps 0 or NaN, by the sign of another.

What exporters write is told by what it does to a negative number, to zero, to a positive number and to NaN, whichever
operators it is made of:

    Sign(x)                                         0 stays 0, NaN stays NaN
    Sign(Sign(x) + 0.1), Sign(Sign(x) - c)          0 becomes 1, or -1 (0 < c < 1)
    Where(x >= 0, 1, -1), Where(x < 0, -f, f)       any comparison with 0, either way round, with Not
    2 * Cast(x >= 0) - 1, Cast(x > 0) - Cast(x < 0)
    Sign(x) - Clip(x, -1, 1) + Clip(x, -1, 1)       a straight-through estimator: Sign(x) but for its last bit
    f * s, -s, s / f                                of any of these
    s * ReduceMean(Abs(x), axes=[-1])               rows times their mean magnitude (XNOR-Net), for products

and, where only the order of elements changes behind them: Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Identity,
Concat, Slice, Gather, MaxPool without padding.

Left alone is ``Sign(x) - x + x`` of an x without bounds: in float32 it is -1 or 1 for small x only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import attr, const
from ronn_provider_bitnet.passes.activations import reduced_axes

Array = np.ndarray
_SAMPLES = np.array([-1, 0, 1, np.nan], np.float32)
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal, "Less": np.less, "LessOrEqual": np.less_equal, "And": np.logical_and,
    "Or": np.logical_or,
}  # fmt: skip
_UNARY: dict[str, Callable[..., Any]] = {
    "Sign": np.sign, "Neg": np.negative, "Not": np.logical_not, "Identity": np.asarray,
}  # fmt: skip
_COMPARISONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_MOVES = ("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Slice", "Gather")
_DEPTH = 12  # nodes that a form is looked for through


class Signs(NamedTuple):
    """A value is ``factor * q(source)``, q with ``zero`` and ``nan`` as ``ronn.bitnet`` operators have them; times the
    mean magnitude of its rows with ``mean``."""

    source: Value
    zero: int
    nan: int
    factor: np.float32
    mean: bool


class _Steps(NamedTuple):
    """What a value is where ``source`` is negative, 0, positive and NaN (``values``)."""

    source: Value
    values: Array


def find_sign_activations(value: Value) -> Signs | None:
    """What makes ``value`` a tensor of signs; None where it is another one."""
    if value.dtype is not DType.FLOAT32:
        return None
    with np.errstate(all="ignore"):
        scaled = _times_mean(value)
        steps = _steps(value) if scaled is None else scaled
        if steps is not None:
            return _signs(steps, mean=scaled is not None)
        levels = _levels(value, _DEPTH)
    if levels is None:
        return None
    return Signs(value, 0 if 0 in levels else 1, 0, np.float32(max(levels)), False)


def _signs(steps: _Steps, *, mean: bool) -> Signs | None:
    below, zero, above, nan = steps.values.astype(np.float32).tolist()
    if steps.source.dtype is not DType.FLOAT32 or not (np.isfinite(above) and above != 0 and below == -above):
        return None
    if zero not in (above, below, 0.0) or not (np.isnan(nan) or nan in (above, below)):
        return None
    of_nan = 0 if np.isnan(nan) else int(nan / above)
    return Signs(steps.source, int(zero / above), of_nan, np.float32(above), mean)


def _steps(value: Value | None, depth: int = _DEPTH) -> _Steps | None:
    """``value`` as a function of another value's sign."""
    node = None if value is None else value.producer
    if node is None or node.domain != "" or depth == 0:
        return None
    if node.op == "Where":
        return _combined(node, node.inputs, np.where, depth)
    if node.op == "Cast":
        to = node.output.dtype
        return None if to is None or to.bits == 0 else _combined(node, node.inputs, lambda v: v.astype(to.numpy), depth)
    if node.op in _UNARY:
        found = _combined(node, node.inputs, _UNARY[node.op], depth)
        x = node.inputs[0]
        if found is None and node.op == "Sign" and x is not None:
            return _Steps(x, np.sign(_SAMPLES))
        return found
    if node.op in _BINARY:
        found = _straight_through(node, depth) if node.op in ("Add", "Sub") else None
        found = _combined(node, node.inputs, _BINARY[node.op], depth) if found is None else found
        return _against_zero(node) if found is None and node.op in _COMPARISONS else found
    return None


def _combined(node: Node, inputs: Sequence[Value | None], apply: Callable[..., Any], depth: int) -> _Steps | None:
    """A node whose inputs are numbers and functions of the sign of one value, of that value's shape."""
    source: Value | None = None
    given: list[Any] = []
    for value in inputs:
        number = _number(value)
        if number is not None:
            given.append(number)
            continue
        steps = _steps(value, depth - 1)
        if steps is None or (source is not None and steps.source is not source):
            return None
        source = steps.source
        given.append(steps.values)
    if source is None or not _same_shape(node.output, source):
        return None
    return _Steps(source, np.asarray(apply(*given)))


def _against_zero(node: Node) -> _Steps | None:
    for i, x in enumerate(node.inputs):
        other = _number(node.inputs[1 - i])
        if x is not None and other is not None and other == 0 and _same_shape(node.output, x):
            pair = (_SAMPLES, other) if i == 0 else (other, _SAMPLES)
            return _Steps(x, np.asarray(_BINARY[node.op](*pair)))
    return None


def _straight_through(node: Node, depth: int) -> _Steps | None:
    """``(s - t) + t`` or ``(s + t) - t``, where t is x within -1 and 1: s, and NaN where x is NaN."""
    inner_op = "Sub" if node.op == "Add" else "Add"
    for i, t in enumerate(node.inputs):
        inner = node.inputs[1 - i]
        made = None if inner is None else inner.producer
        if t is None or made is None or made.op != inner_op or made.domain != "" or (node.op == "Sub" and i == 0):
            continue
        left, right = made.inputs
        s = left if right is t else right if inner_op == "Add" and left is t else None
        steps = None if s is None else _steps(s, depth - 1)
        clip = t.producer
        if steps is None or clip is None or clip.op != "Clip" or clip.inputs[0] is not steps.source:
            continue
        low, high = (_number(clip.input(j)) for j in (1, 2))
        if low is None or high is None or not (-1 <= low <= high <= 1):
            continue
        values = np.where(np.isnan(_SAMPLES), np.float32(np.nan), steps.values)
        return _Steps(steps.source, values)
    return None


def _times_mean(value: Value) -> _Steps | None:
    """``s * mean(|x|)`` by rows of the x that s is of."""
    node = value.producer
    if node is None or node.op != "Mul" or node.domain != "":
        return None
    for i, m in enumerate(node.inputs):
        steps = _steps(node.inputs[1 - i])
        reduce = None if m is None else m.producer
        if steps is None or reduce is None or reduce.op != "ReduceMean" or reduce.domain != "":
            continue
        absolute = None if reduce.inputs[0] is None else reduce.inputs[0].producer
        if absolute is None or absolute.op != "Abs" or absolute.inputs[0] is not steps.source:
            continue
        rank = steps.source.tensor.rank
        if rank is not None and reduced_axes(reduce, steps.source) == ((rank - 1,), True):
            return _Steps(steps.source, steps.values)
    return None


def _levels(value: Value | None, depth: int) -> frozenset[float] | None:
    """The numbers, but for NaN, that elements of ``value`` can be, where they are -f, f and perhaps 0."""
    node = None if value is None else value.producer
    if node is None or node.domain != "" or depth == 0:
        return None
    found = _steps(value)
    if found is not None:
        signs = _signs(found, mean=False)
        if signs is None:
            return None
        size = abs(float(signs.factor))
        return frozenset((-size, size) if signs.zero else (-size, 0.0, size))
    if node.op in _MOVES or (node.op == "MaxPool" and _unpadded(node)):
        return _levels(node.inputs[0], depth - 1)
    if node.op == "Concat":
        all_ = [_levels(v, depth - 1) for v in node.inputs]
        known = [levels for levels in all_ if levels is not None]
        if len(known) == len(all_) and len({max(levels) for levels in known}) == 1:
            return frozenset().union(*known)
    return None


def _unpadded(node: Node) -> bool:
    plain = attr(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and not attr(node, "ceil_mode", 0)
    return plain and not any(attr(node, "pads", ()) or ())


def _number(value: Value | None) -> np.ndarray | None:
    """A constant of one element and any rank, as an array without axes."""
    data = const(value)
    return None if data is None or data.size != 1 or data.dtype.kind not in "bfiu" else data.reshape(())


def _same_shape(a: Value, b: Value) -> bool:
    """Whether a node that makes ``a`` of ``b`` and numbers leaves its shape as it is."""
    return a.tensor.rank is not None and a.tensor.rank == b.tensor.rank
