"""Rounded convolutions as ONNX: weights behind DequantizeLinear, in the narrowest integers of the model's opset."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import remove_dead
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.gptq import Rounded
from ronn_provider_bitnet.quantize.grids import BinaryGrid
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.planes import PlanesGrid, second_scale, split

Array = np.ndarray
_CONTRIB = "com.microsoft"
_FIRST_OPSET = {2: 25, 4: 21, 8: 13}
"""From which DequantizeLinear takes unsigned integers of so many bits, with a scale for each row. Before, that of
com.microsoft takes those of 4 and 8."""
_TYPES = {2: ml_dtypes.uint2, 4: ml_dtypes.uint4, 8: np.uint8}


@dataclass(frozen=True, slots=True)
class Integers:
    """codes u8[N, K] below ``2 ** bits``, scale f32[N], zero u8[N]: ``(code - zero) * scale``. domain: of the
    DequantizeLinear."""

    bits: int
    domain: str
    codes: Array
    scale: Array
    zero: Array

    @property
    def nbytes(self) -> int:
        return -(-self.codes.size * self.bits // 8) + self.scale.nbytes + -(-self.zero.size * self.bits // 8)


def pack_rows(rounded: Rounded, layer: Layer) -> list[Integers]:
    """What DequantizeLinear takes of a layer with a scale for each row; two where it has two planes."""
    grid, codes, scale = rounded.grids[0], rounded.codes, rounded.scale[:, 0]
    ones = np.ones(len(codes), np.uint8)
    opset = layer.node.version
    if isinstance(grid, PlanesGrid):
        second = second_scale(rounded)[:, 0]
        return [_integers(q, s, ones, 2, opset) for q, s in zip(split(codes), (scale, second), strict=True)]
    if isinstance(grid, BinaryGrid):
        return [_integers(codes * np.uint8(2), scale, ones, 2, opset)]
    bits = max(2, grid.top.bit_length())
    return [_integers(codes, scale, rounded.zero[:, 0].astype(np.uint8), bits, opset)]


def _integers(codes: Array, scale: Array, zero: Array, bits: int, opset: int) -> Integers:
    if bits == 2 and opset < _FIRST_OPSET[2]:
        bits = 4  # the narrowest that there is
    domain = "" if opset >= _FIRST_OPSET[bits] else _CONTRIB
    return Integers(bits, domain, codes, np.ascontiguousarray(scale, np.float32), zero)


def replace_weights(graph: Graph, layer: Layer, parts: list[Integers]) -> None:
    """Puts DequantizeLinear (and an Add behind two of them) in the place of a convolution's weights."""
    node = layer.node
    old = node.inputs[1]
    assert old is not None and layer.window is not None
    shape = (len(layer.w), -1, *layer.window.kernel)
    made: list[Value] = []
    for number, part in enumerate(parts):
        tail = "" if number == 0 else f".{number + 1}"
        type_ = _TYPES[part.bits]
        arrays = (part.codes.reshape(shape).astype(type_), part.scale, part.zero.astype(type_))
        inputs = [
            graph.constant(data, graph.fresh_name(f"{layer.name}.{stem}{tail}"))
            for data, stem in zip(arrays, ("codes", "scale", "zero"), strict=True)
        ]
        out = Value(graph.fresh_name(f"{layer.name}.weights{tail}"), old.type)
        version = 1 if part.domain else node.version
        name = f"{layer.name}.weights{tail}"
        added = Node("DequantizeLinear", inputs, [out], {"axis": 0}, domain=part.domain, version=version, name=name)
        graph.insert_before(node, added)
        made.append(out)
    if len(made) > 1:
        total = Value(graph.fresh_name(f"{layer.name}.weights"), old.type)
        graph.insert_before(node, Node("Add", made, [total], version=node.version, name=f"{layer.name}.planes"))
        made = [total]
    maker = old.producer
    node.set_input(1, made[0])
    if maker is not None:
        remove_dead([maker], graph)
