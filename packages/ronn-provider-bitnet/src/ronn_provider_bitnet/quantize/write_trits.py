"""Rounded layers in the smallest form: five ternary digits in a byte, for the provider ``bitnet`` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType, Type
from ronn.passes.edit import remove_dead, take_over
from ronn.records import dataclass
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_bitnet.quantize.gptq import Rounded
from ronn_provider_bitnet.quantize.grids import BinaryGrid
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.planes import PlanesGrid, second_scale, split
from ronn_provider_bitnet.trits import PER_BYTE, pack_trits

Array = np.ndarray
_OPSETS = {False: 13, True: 21}
"""From which DequantizeLinear has a scale for each row, and for each group of a row."""
_FLOAT = 1  # of TensorProto


@dataclass(frozen=True, slots=True)
class Plane:
    """codes u8[N, K] of 0, 1 and 2, scale [N, groups] of ``group`` columns each: float32 of whole rows, else
    float16."""

    codes: Array
    scale: Array
    group: int

    @property
    def nbytes(self) -> int:
        return -(-self.codes.size // PER_BYTE) + self.scale.nbytes


def can_be_trits(rounded: Rounded) -> bool:
    """Whether all values are -s, 0 and s, or sums of two such."""
    grid = rounded.grids[0]
    return isinstance(grid, PlanesGrid | BinaryGrid) or grid.top == 2


def pack_planes(rounded: Rounded, layer: Layer) -> list[Plane]:
    """The planes of a layer. Scales of groups lose what float16 does: 1 in 2000.

    Raises OptionError where the model's opset has no DequantizeLinear for such scales.
    """
    grid, codes, scale = rounded.grids[0], rounded.codes, rounded.scale
    grouped = rounded.group < codes.shape[1]
    if layer.node.version < _OPSETS[grouped]:
        what = "a scale for a group of columns" if grouped else "a scale for a row"
        raise OptionError(
            f"--form trits: {layer.name!r} is of opset {layer.node.version}, and {what} comes with {_OPSETS[grouped]}",
            hint=f"ronn convert --opset {_OPSETS[grouped]}",
        )
    dtype = np.float16 if grouped else np.float32
    if isinstance(grid, BinaryGrid):
        codes = codes * np.uint8(2)
    parts = [(codes, scale)]
    if isinstance(grid, PlanesGrid):
        parts = list(zip(split(codes), (scale, second_scale(rounded)), strict=True))
    return [Plane(q, np.ascontiguousarray(s, dtype), rounded.group) for q, s in parts]


def replace_by_trits(graph: Graph, layer: Layer, planes: Sequence[Plane]) -> None:
    """Puts the weights of a layer as trits: products become MatMul (and Add behind two of them, and for a bias),
    convolutions keep their node."""
    if layer.window is not None:
        _in_place(graph, layer, planes)
        return
    node = layer.node
    where = _Writer(graph, node, layer.name)
    outputs = []
    for number, plane in enumerate(planes):
        w = where.weights(plane, list(plane.codes.shape[::-1]), "" if number == 0 else f".{number + 1}")
        outputs.append(where.add("MatMul", [layer.x, w], "product", node.output.type))
    total = outputs[0] if len(outputs) == 1 else where.add("Add", outputs, "sum", node.output.type)
    if layer.bias is not None:
        bias = graph.constant(layer.bias, graph.fresh_name(f"{layer.name}.bias"))
        total = where.add("Add", [total, bias], "biased", node.output.type)
    take_over(graph, node.output, total)
    remove_dead([node], graph)


def _in_place(graph: Graph, layer: Layer, planes: Sequence[Plane]) -> None:
    node = layer.node
    old = node.inputs[1]
    assert old is not None and layer.window is not None
    shape = [len(layer.w), layer.w.shape[1] // int(np.prod(layer.window.kernel)), *layer.window.kernel]
    where = _Writer(graph, node, layer.name)
    made = [where.weights(p, shape, "" if i == 0 else f".{i + 1}") for i, p in enumerate(planes)]
    node.set_input(1, made[0] if len(made) == 1 else where.add("Add", made, "weights", old.type))
    if old.producer is not None:
        remove_dead([old.producer], graph)


class _Writer:
    """Puts nodes in front of that of a layer."""

    def __init__(self, graph: Graph, node: Node, name: str) -> None:
        self._graph, self._node, self._name = graph, node, name

    def weights(self, plane: Plane, shape: list[int], tail: str) -> Value:
        """The float32 weights of a plane: of ``shape`` [K, N], or [N, ...] of a convolution."""
        product = len(shape) == 2 and shape == list(plane.codes.shape[::-1])
        codes = plane.codes.T if product else plane.codes
        packed = self._constant(pack_trits(np.ascontiguousarray(codes)), f"trits{tail}")
        ternary = self.add(
            "Trits", [packed], f"codes{tail}", TensorType(DType.INT8, tuple(shape)), {"shape": shape}, DOMAIN
        )
        scale = plane.scale
        attributes = {"axis": 1 if product else 0}
        if scale.shape[1] == 1:
            factors = self._constant(scale[:, 0].astype(np.float32), f"scale{tail}")
        else:
            attributes = {"axis": 0, "block_size": plane.group}
            half = self._constant(np.ascontiguousarray(scale.T), f"scale16{tail}")
            kind = TensorType(DType.FLOAT32, scale.T.shape)
            factors = self.add("Cast", [half], f"scale{tail}", kind, {"to": _FLOAT})
        kind = TensorType(DType.FLOAT32, tuple(shape))
        return self.add("DequantizeLinear", [ternary, factors], f"weights{tail}", kind, attributes)

    def add(
        self, op: str, inputs: list[Value], stem: str, type_: Type | None, attributes: Mapping[str, Any] | None = None,
        domain: str = "",
    ) -> Value:  # fmt: skip
        out = Value(self._graph.fresh_name(f"{self._name}.{stem}"), type_)
        version = 1 if domain else self._node.version
        given = {} if attributes is None else dict(attributes)
        made = Node(op, inputs, [out], given, domain=domain, version=version, name=f"{self._name}.{stem}")
        self._graph.insert_before(self._node, made)
        return out

    def _constant(self, data: Array, stem: str) -> Value:
        return self._graph.constant(data, self._graph.fresh_name(f"{self._name}.{stem}"))
