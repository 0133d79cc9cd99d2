"""Activations of eight bits as ONNX: BitNet's quantiser in front of convolutions, and what MatMulNBits has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.ir.graph import Graph, Node, Value
from ronn_provider_bitnet.quantize.layers import Layer

_ROUND, _AXES_ARE_INPUT = 11, 18  # opsets
_LEAST = 1e-5  # BitNet's, of the largest value
_BYTES = 4  # the accuracy level of MatMulNBits that computes with bytes


def quantise_activations(graph: Graph, layers: Sequence[Layer]) -> None:
    """Rounds what goes into rounded layers, which are known by their outputs, to eight bits: convolutions have a scale
    for each image (Wang et al., 2023, for its rows), MatMulNBits as its runtime does.

    Raises OptionError where the opset has no Round.
    """
    makers = {v.name: node for node in graph for v in node.outputs}
    known: dict[Value, Value] = {}
    for layer in layers:
        node = makers[layer.node.output.name]
        if node.op == "MatMulNBits":
            node.attributes["accuracy_level"] = _BYTES
            continue
        x = node.inputs[0]
        assert x is not None and layer.window is not None
        if node.version < _ROUND:
            raise OptionError(
                f"--activations 8: {layer.name!r} is of opset {node.version}, and Round comes with {_ROUND}",
                hint=f"ronn convert --opset {_AXES_ARE_INPUT}",
            )
        if x not in known:
            known[x] = _quantised(graph, node, x, len(layer.window.kernel) + 2)
        node.set_input(0, known[x])


def _quantised(graph: Graph, before: Node, x: Value, rank: int) -> Value:
    """clip(round(x * s), -128, 127) / s, s = 127 / the largest absolute value of an image."""
    version, stem = before.version, f"{x.name}.bytes"

    def constant(value: Any, name: str) -> Value:
        return graph.constant(np.asarray(value), graph.fresh_name(f"{stem}.{name}"))

    def op(name: str, *inputs: Value, **attributes: Any) -> Value:
        out = Value(graph.fresh_name(f"{stem}.{name.lower()}"))
        made = Node(name, list(inputs), [out], attributes, version=version, name=out.name)
        graph.insert_before(before, made)
        return out

    axes = list(range(1, rank))
    absolute = op("Abs", x)
    if version >= _AXES_ARE_INPUT:
        peak = op("ReduceMax", absolute, constant(axes, "axes"))
    else:
        peak = op("ReduceMax", absolute, axes=axes)
    limited = op("Clip", peak, constant(np.float32(_LEAST), "least"))
    steps = op("Div", constant(np.float32(127), "top"), limited)
    rounded = op("Round", op("Mul", x, steps))
    low, high = constant(np.float32(-128), "low"), constant(np.float32(127), "high")
    return op("Div", op("Clip", rounded, low, high), steps)
