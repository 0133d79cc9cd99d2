"""Rounded products as ONNX: com.microsoft's MatMulNBits, which ONNX Runtime and RONN run."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import remove_dead, take_over
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.gptq import Rounded
from ronn_provider_bitnet.quantize.grids import BinaryGrid
from ronn_provider_bitnet.quantize.layers import Layer
from ronn_provider_bitnet.quantize.planes import PlanesGrid, second_scale, split

Array = np.ndarray
DOMAIN = "com.microsoft"
BLOCKS = (16, 32, 64, 128, 256)
"""Columns that may share a scale in MatMulNBits."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Constants of a MatMulNBits: codes u8[N, blocks, bytes], scale f32[N * blocks], zero points u8 or None (the
    middle of the range)."""

    bits: int
    block: int
    codes: Array
    scale: Array
    zero: Array | None

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scale.nbytes + (0 if self.zero is None else self.zero.nbytes)


class Part(Protocol):
    """Constants that stand for the weights of a layer, or for one of its planes."""

    @property
    def nbytes(self) -> int: ...


def pack(rounded: Rounded) -> list[Packed]:
    """What MatMulNBits keeps of a layer; two where it has two planes, which are to be added.

    One and 1.58 bits are written as two: codes 1, 2 and 3 about the middle. Scales of whole rows are repeated for each
    block of the width that takes the fewest bytes.
    """
    grid, codes, scale = rounded.grids[0], rounded.codes, rounded.scale
    if isinstance(grid, PlanesGrid):
        first, second = split(codes)
        one = np.uint8(1)
        parts = ((first + one, scale), (second + one, second_scale(rounded)))
        return [_pack(q, s, None, 2, rounded.group) for q, s in parts]
    if isinstance(grid, BinaryGrid):
        return [_pack(codes * np.uint8(2) + np.uint8(1), scale, None, 2, rounded.group)]
    if grid.top == 2:
        return [_pack(codes + np.uint8(1), scale, None, 2, rounded.group)]
    bits = (grid.top + 1).bit_length() - 1
    zero = rounded.zero.astype(np.uint8)
    return [_pack(codes, scale, None if (zero == 1 << (bits - 1)).all() else zero, bits, rounded.group)]


def _pack(codes: Array, scale: Array, zero: Array | None, bits: int, group: int) -> Packed:
    n, k = codes.shape
    block = _block(k, group, bits, zero is not None)
    blocks = -(-k // block)
    middle = 1 << (bits - 1)
    padded = np.full((n, blocks * block), middle, np.uint8)
    padded[:, :k] = codes
    of = np.arange(blocks) * block // group  # the group of each block
    zeros = None
    if zero is not None:
        wide = np.full((n, _whole(blocks, bits)), middle, np.uint8)
        wide[:, :blocks] = zero[:, of]
        zeros = _bits(wide, bits).reshape(-1)
    packed = _bits(padded, bits).reshape(n, blocks, -1)
    return Packed(bits, block, packed, np.ascontiguousarray(scale[:, of], np.float32).reshape(-1), zeros)


def _block(k: int, group: int, bits: int, with_zero: bool) -> int:
    """The block for groups of ``group`` columns: the group, or, for whole rows, what takes the fewest bytes."""
    if group < k:
        return min(group, BLOCKS[-1])

    def size(block: int) -> float:
        blocks = -(-k // block)
        return blocks * (block * bits / 8 + 4 + (bits / 8 if with_zero else 0))

    return min(BLOCKS, key=size)


def _whole(count: int, bits: int) -> int:
    per = 8 // bits
    return -(-count // per) * per


def _bits(codes: Array, bits: int) -> Array:
    """u8[..., n] of small numbers, packed: the lowest bits hold the first."""
    per = 8 // bits
    parts = codes.reshape(*codes.shape[:-1], -1, per)
    out = np.zeros(parts.shape[:-1], np.uint8)
    for i in range(per):
        out |= parts[..., i] << np.uint8(i * bits)
    return out


def replace(graph: Graph, layer: Layer, parts: list[Packed]) -> None:
    """Puts MatMulNBits (and an Add behind two of them) in the place of a layer of this graph."""
    node = layer.node
    outputs: list[Value] = []
    last = node
    for number, part in enumerate(parts):
        tail = "" if number == 0 else f".{number + 1}"
        constants = [
            graph.constant(data, graph.fresh_name(f"{layer.name}.{stem}{tail}"))
            for data, stem in ((part.codes, "codes"), (part.scale, "scale"))
        ]
        zero = None if part.zero is None else graph.constant(part.zero, graph.fresh_name(f"{layer.name}.zero{tail}"))
        inputs = [layer.x, *constants, zero]
        if layer.bias is not None and number == len(parts) - 1:
            inputs += [None, graph.constant(layer.bias, graph.fresh_name(f"{layer.name}.bias"))]
        while inputs[-1] is None:
            inputs.pop()
        out = Value(graph.fresh_name(f"{layer.name}.product"), node.output.type)
        n, k = layer.w.shape
        attributes = {"K": k, "N": n, "bits": part.bits, "block_size": part.block}
        made = Node(
            "MatMulNBits", inputs, [out], attributes, domain=DOMAIN, version=1, name=f"{layer.name}{tail}"
        )  # fmt: skip
        graph.insert_after(last, made)
        outputs.append(out)
        last = made
    if len(outputs) > 1:
        total = Value(graph.fresh_name(f"{layer.name}.sum"), node.output.type)
        add = Node("Add", outputs, [total], version=node.version, name=f"{layer.name}.planes")
        graph.insert_after(last, add)
        outputs = [total]
    take_over(graph, node.output, outputs[0])
    remove_dead([node], graph)


def drop_unused(graph: Graph, keep: tuple[str, ...]) -> None:
    """Removes constants that nobody uses, except those named in ``keep``."""
    for name, value in list(graph.initializers.items()):
        if name not in keep and not graph.is_used(value):
            del graph.initializers[name]
