"""QuantizeLinear and DequantizeLinear with a scale for each block along an axis: one axis more in the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ronn_codegen.clike.table import lower
from ronn_codegen.loops.language import HALVES, LoopError
from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.pointwise import RULES, NotLowered
from ronn_codegen.loops.small import SMALL, decode
from ronn_codegen.lower._loops import Body, Elementwise, Space, type_name
from ronn_codegen.lower.pointwise import elementwise
from ronn_codegen.lowering import Lowering, Operand

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn_codegen.loops.write import Value as Element


class _Blocked(Elementwise):
    """The operands of a node whose parameters have one element for each block along an axis."""

    def __init__(self, body: Body, node: Node, axis: int, blocks: int) -> None:
        super().__init__(body, node)
        self._axis, self._blocks, plain = axis, blocks, self.attr
        self.attr = lambda name, default=None: 0 if name == "block_size" else plain(name, default)

    def along(self, index: int, axis: int) -> Element:
        operand = self._body.c.operand(self._input(index))
        whole = self._body.space.shape
        if operand.shape != (*whole[: self._axis], self._blocks, *whole[self._axis + 1 :]):
            raise NotLowered("parameters that do not fit their blocks")
        element = self._body.load(operand, self._lay)
        name = type_name(operand.value)
        return decode(element, name) if name in SMALL else element.cast("f32") if element.dtype in HALVES else element

    def _lay(self, operand: Operand, _: Space) -> list[int]:
        strides = list(operand.strides)
        strides.insert(self._axis + 1, 0)
        return strides


@lower("QuantizeLinear")
@lower("DequantizeLinear")
def quantise(c: Lowering) -> None:
    """QuantizeLinear, DequantizeLinear."""
    if c.attr("block_size", 0):
        _blocked(c, int(c.attr("block_size")))
    else:
        elementwise(c)


def _blocked(c: Lowering, block: int) -> None:
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    axis = int(c.attr("axis", 1)) % x.rank
    c.require(x.shape[axis] % block == 0, f"blocks of {block} in {x.shape[axis]} elements")
    blocks = x.shape[axis] // block

    def place(strides: Sequence[int]) -> list[int]:
        return [*strides[:axis], strides[axis] * block, strides[axis], *strides[axis + 1 :]]

    nest = Nest((*x.shape[:axis], blocks, block, *x.shape[axis + 1 :]))
    body = Body(c, nest, Space("", x.shape, place))
    try:
        with nest.writer.each():
            body.store(y.value, RULES["", c.node.op](_Blocked(body, c.node, axis, blocks)))
        bound = nest.finish()
    except (NotLowered, LoopError) as e:
        c.refuse(str(e))
    values: Any = bound.arrays
    arrays: dict[str, Any] = {name: c.operand(value) for name, value in values.items()}
    kernel: Any = bound.kernel
    c.call_loop(kernel, **arrays, **bound.sizes, bytes=x.nbytes + y.nbytes)
