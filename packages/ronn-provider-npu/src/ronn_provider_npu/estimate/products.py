"""The matrix products that a node stands for, and what they are on a matrix unit and on the chip."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ronn.ir.types import TensorType
from ronn.records import dataclass
from ronn_provider_npu.profiles.claims import ACCUMULATOR_BYTES, operands_of

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_provider_npu.profiles import DeviceProfile

Shape = tuple[int, ...]

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclass(frozen=True, slots=True)
class Product:
    """``batch`` products of m x k by k x n."""

    batch: int
    m: int
    n: int
    k: int

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.batch * self.m * self.n * self.k

    def padded(self, unit: tuple[int, int, int]) -> int:
        """Multiply-adds that a unit of rows x columns x depth does for it: each dim is filled up with zeros."""
        rows, columns, depth = unit
        return self.batch * _up(self.m, rows) * _up(self.n, columns) * _up(self.k, depth)


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def products_of(node: Node) -> list[Product]:
    """The products of a node, from its shapes; none where it is no product, or one whose shapes do not tell them (an
    ``Einsum``)."""
    operands = [shape_of(v) for v in operands_of(node)]
    if not operands or any(s is None for s in operands) or not node.outputs:
        return []
    shapes = [s for s in operands if s is not None]
    if node.op in _GATES:
        return _recurrent(shapes)
    if "Attention" in node.op:
        return _attention(node, shapes)
    out = shape_of(node.outputs[0])
    if out is None:
        return []
    if "Conv" in node.op:
        return _convolution(node, shapes[0], shapes[1], out)
    if node.op == "MatMulNBits":
        return [Product(1, _size(out[:-1]), out[-1], shapes[0][-1])]
    return [] if node.op == "Einsum" else [_matmul(node, shapes[0], shapes[1])]


def _matmul(node: Node, a: Shape, b: Shape) -> Product:
    a = (1, *a) if len(a) == 1 else a
    b = (*b, 1) if len(b) == 1 else b
    m, k = (a[-1], a[-2]) if node.attributes.get("transA") else (a[-2], a[-1])
    n = b[-2] if node.attributes.get("transB") else b[-1]
    if _size(b[:-2]) == 1:  # one matrix for all: its rows are those of one product
        return Product(1, _size(a[:-2]) * m, n, k)
    rank = max(len(a), len(b)) - 2
    pairs = zip((1,) * (rank + 2 - len(a)) + a[:-2], (1,) * (rank + 2 - len(b)) + b[:-2], strict=True)
    return Product(math.prod(x if y == 1 else y for x, y in pairs), m, n, k)


def _convolution(node: Node, x: Shape, w: Shape, out: Shape) -> list[Product]:
    groups = int(node.attributes.get("group") or 1)
    window = _size(w[2:])
    if "Transpose" in node.op:
        return [Product(groups, x[0] * _size(x[2:]), w[1] * window, w[0] // groups)]
    return [Product(groups, out[0] * _size(out[2:]), w[0] // groups, w[1] * window)]


def _recurrent(shapes: list[Shape]) -> list[Product]:
    (steps, batch, width), (directions, gates, _), (_, _, hidden) = shapes
    each = directions * steps
    return [Product(each, batch, gates, width), Product(each, batch, gates, hidden)]


def _attention(node: Node, shapes: list[Shape]) -> list[Product]:
    """Scores, and their product with the values: of dims batch, heads, length, width; or 3, with heads side by side."""
    query, key, value = (*shapes, *shapes[-1:] * 2)[:3]
    heads = int(node.attributes.get("q_num_heads") or node.attributes.get("num_heads") or 1)
    if len(query) == 3:
        batch, length, width, values = query[0] * heads, query[1], query[2] // heads, query[2] // heads
        others = key[1] if len(key) == 3 else key[-2]
    elif len(query) == 4:
        batch, length, width = query[0] * query[1], query[2], query[3]
        others, values = key[-2], value[-1]
    else:
        return []
    return [Product(batch, length, others, width), Product(batch, length, values, others)]


def traffic(product: Product, sizes: tuple[int, int], profile: DeviceProfile) -> tuple[int, int, str]:
    """Bytes of both operands that come from the memory, and how many times that is more than once, in words.

    sizes: bytes of the operands. One of them is read once and stays where half of what lies near the units holds it;
    then the other is read once as well. Otherwise sums of a tile stay there, and operands are read once for each
    column or row of tiles.
    """
    a, b = sizes
    room = profile.near_bytes // 2
    if min(a, b) // product.batch <= room:
        return a, b, "one operand stays on the chip"
    side = max(math.isqrt(room // ACCUMULATOR_BYTES), 1)
    rows, columns = max(side, profile.unit[0]), max(side, profile.unit[1])
    again_a, again_b = -(-product.n // columns), -(-product.m // rows)
    return a * again_a, b * again_b, f"tiles of {rows} x {columns}: operands are read {again_a} and {again_b} times"


def shape_of(value: Value | None) -> Shape | None:
    """The shape of a value where every dim is known."""
    t = None if value is None else value.type
    return t.static_shape if isinstance(t, TensorType) and t.shape is not None and t.is_static else None


def _size(shape: Shape) -> int:
    return math.prod(shape)
