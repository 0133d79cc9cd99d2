"""float16 and bfloat16 for lowerings of float32: operands are widened to scratch memory, results rounded back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.provider.native import At, Scratch
from ronn_codegen.lowering import Lowering, Temporary

_MODULE = "ronn_codegen.templates.halves"
_HALVES = {DType.FLOAT16: "f16", DType.BFLOAT16: "bf16"}
Fn = Callable[[Lowering], None]


def widened(fn: Fn) -> Fn:
    """A lowering that takes float32, for the halves too."""

    @wraps(fn)
    def run(c: Lowering) -> None:
        values = (*c.node.inputs, *c.node.outputs)
        if any(v is not None and v.dtype in _HALVES for v in values) and not any(True for _ in c.node.subgraphs()):
            _widen(c, fn)
        else:
            fn(c)

    return run


def _widen(c: Lowering, fn: Fn) -> None:
    """``fn`` on a node of the same kind whose halves are float32; its calls become those of ``c``."""
    node = c.node
    twins = {v: _twin(v) for v in (*node.inputs, *node.outputs) if v is not None}
    outputs = tuple(twins[v] for v in node.outputs)
    inputs = tuple(None if v is None else twins[v] for v in node.inputs)
    wide = Lowering(
        (Node(node.op, inputs, outputs, node.attributes, domain=node.domain, version=node.version, name=node.name),),
        c.context,
    )
    fn(wide)
    c.require(not wide.aliases and not wide.joins, "views of halves")
    places: dict[Value, Temporary] = {}
    for v, twin in twins.items():
        if v.dtype in _HALVES and v.data is None and v.name:
            places[twin] = c.temp(4 * _size(v))
    for v in dict.fromkeys(v for v in node.inputs if v is not None):
        if twins[v] in places:
            kernel = f"widen_{_HALVES[v.tensor.dtype]}"  # type: ignore[index]
            c.call(_MODULE, kernel, x=c.operand(v), y=places[twins[v]], n=_size(v))
    base, known = len(c.scratch), {twin: v for v, twin in twins.items() if v.dtype not in _HALVES}

    def word(given: Any) -> Any:
        if isinstance(given, Scratch):
            return Scratch(base + given.index, given.offset)
        if not isinstance(given, At):
            return given
        if given.value in places:
            return Scratch(places[given.value].index, given.offset)
        return At(known.get(given.value, given.value), given.offset)

    c.scratch += wide.scratch
    for p in wide.pending:
        p.words = [word(w) for w in p.words]
        c.pending.append(p)
    c._keep += wide.kept
    for v in node.outputs:
        if twins[v] in places:
            kernel = f"narrow_{_HALVES[v.tensor.dtype]}"  # type: ignore[index]
            c.call(_MODULE, kernel, x=places[twins[v]], y=c.operand(v), n=_size(v))


def _twin(value: Value) -> Value:
    """A value of the same shape; of a half in float32."""
    half = value.dtype in _HALVES
    data = value.data if value.data is None or not half else value.data.astype(np.float32)
    kind = TensorType(DType.FLOAT32, value.tensor.shape) if half else value.type
    return Value(value.name, kind, data=data)


def _size(value: Value) -> int:
    return math.prod(value.tensor.static_shape)
