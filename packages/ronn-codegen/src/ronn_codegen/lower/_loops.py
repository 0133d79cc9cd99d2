"""Nodes as loops: operands laid over an iteration space, elementwise nodes written into it, the kernel called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ronn.records import dataclass
from ronn_codegen.loops.language import BITS, HALVES, LoopError
from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.pointwise import RULES, NotLowered
from ronn_codegen.loops.small import SMALL, decode
from ronn_codegen.lower._made import Over, run
from ronn_codegen.lowering import Context, Lowering, Operand

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_codegen.loops.write import Value as Element

_ON_SMALL = frozenset({"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"})
SHARE = 1024  # elements of a pointwise loop below which a share of its own does not pay


def nowhere() -> Context:
    """A context for looking at nodes: nothing can be called in it."""
    return Context(None)


def type_name(value: Value) -> str:
    """The loop language's name of a value's element type. NotLowered when it has none."""
    name = "" if value.dtype is None else value.dtype.short
    if name not in BITS and name not in SMALL:
        raise NotLowered(f"elements of type {name}")
    return name


def storage(value: Value) -> str:
    """What a value's elements are in memory: small ones are bytes."""
    name = type_name(value)
    return "u8" if name in SMALL else name


Place = Callable[[Sequence[int]], list[int]]
Lay = Callable[..., list[int]]
"""(operand, space, further arguments) -> strides along the nest's axes."""


def spread(shape: Sequence[int], strides: Sequence[int], space: Sequence[int]) -> list[int]:
    """Strides along each axis of ``space``, of an operand that broadcasts over it."""
    lead = len(space) - len(shape)
    if lead < 0:
        extra, shape, strides = shape[:-lead], shape[-lead:], strides[-lead:]
        if any(d != 1 for d in extra):
            raise NotLowered("an operand of higher rank than the result")
        lead = 0
    return [0] * lead + [0 if d == 1 else s for d, s in zip(shape, strides, strict=True)]


@dataclass(frozen=True)
class Space:
    """What a section goes over: the shape that operands broadcast over, and how strides along its axes are turned into
    strides along the nest's axes. ``name``: which of its loop's spaces it is."""

    name: str
    shape: tuple[int, ...]
    place: Place = list


def spread_over(operand: Operand, space: Space) -> list[int]:
    """Strides along the nest's axes of an operand that broadcasts over the space."""
    return space.place(spread(operand.shape, operand.strides, space.shape))


def along_axis(operand: Operand, space: Space, axis: int) -> list[int]:
    """Strides along the nest's axes of a vector that lies along one axis of the space, or of one element."""
    rank = len(space.shape)
    if operand.size == 1:
        return space.place([0] * rank)
    at = axis % rank
    if operand.rank != 1:
        raise NotLowered("parameters of several dims")
    if space.shape[at] != operand.size:
        raise NotLowered("parameters that do not fit their axis")
    return space.place([1 if k == at else 0 for k in range(rank)])


class Body:
    """The values of one section of a loop, at the current index.

    How an operand is laid is written down for its array (function, name of the space, further arguments): by this its
    strides are found for other sizes.
    """

    def __init__(self, c: Lowering, nest: Nest, space: Space) -> None:
        self.c, self.nest, self.space = c, nest, space
        self.known: dict[Value, Element] = {}

    def load(self, operand: Operand, lay: Lay, *arguments: Any) -> Element:
        """The element of an operand that ``lay`` lays over the space."""
        strides, recipe = lay(operand, self.space, *arguments), (lay, self.space.name, *arguments)
        return self.nest.load(operand.value, storage(operand.value), strides, recipe)

    def reload(self, value: Value) -> Element:
        """The element of a value in memory, broadcast."""
        return self.load(self.c.operand(value), spread_over)

    def value(self, value: Value) -> Element:
        """The element of a value: made in this section, or loaded and broadcast."""
        found = self.known.get(value)
        if found is None:
            found = self.known[value] = self.reload(value)
        return found

    def wide(self, value: Value) -> Element:
        """The same, float16 and bfloat16 as float32, small types as float32 or int32."""
        found = self.value(value)
        name = type_name(value)
        if name in SMALL:
            return decode(found, name)
        return found.cast("f32") if found.dtype in HALVES else found

    def store(self, value: Value, element: Element) -> None:
        """Writes the element of an output that has the shape of the space, but for axes of length 1."""
        name, strides = storage(value), spread_over(self.c.operand(value), self.space)
        self.nest.store(value, name, strides, element.cast(name), (spread_over, self.space.name))

    def write(self, node: Node) -> Element:
        """The element of output 0 of an elementwise node. NotLowered when there is no rule for it."""
        rule = RULES.get((node.domain, node.op))
        if rule is None:
            raise NotLowered(f"{node.op_id} is not elementwise")
        made = rule(Elementwise(self, node))
        self.known[node.outputs[0]] = made
        return made


class Elementwise:
    """The operands of a node, for the rules of ``ronn_codegen.loops.pointwise``."""

    def __init__(self, body: Body, node: Node) -> None:
        self._body, self.node = body, node
        self._facts = Lowering((node,), body.c.context)
        self.op: str = node.op
        self.attr = self._facts.attr

    @property
    def since(self) -> int:
        return self._facts.since

    @property
    def dtype(self) -> str:
        return type_name(self.node.outputs[0])

    @property
    def count(self) -> int:
        return len(self.node.inputs)

    def has(self, index: int) -> bool:
        return self.node.input(index) is not None

    def _input(self, index: int) -> Value:
        value = self.node.input(index)
        if value is None:
            raise NotLowered(f"input {index} is omitted")
        return value

    def arg(self, index: int) -> Element:
        value = self._input(index)
        if type_name(value) in SMALL:
            if self.op not in _ON_SMALL:
                raise NotLowered(f"{self.op} of {type_name(value)}")
            return self._body.wide(value)
        literal = self._literal(value)
        if literal is not None:
            name = type_name(value)
            return self._body.nest.writer.const(literal, "f32" if name in HALVES else name)
        return self._body.wide(value)

    def along(self, index: int, axis: int) -> Element:
        operand = self._body.c.operand(self._input(index))
        if operand.size != 1 and operand.value in self._body.known:
            raise NotLowered("parameters that are made on the way")
        element = self._body.load(operand, along_axis, axis)
        if type_name(operand.value) in SMALL:
            return decode(element, type_name(operand.value))
        return element.cast("f32") if element.dtype in HALVES else element

    def number(self, index: int) -> float | int | None:
        value = self.node.input(index)
        if value is None or value.data is None or value.data.size != 1:
            return None
        found: float | int = value.data.reshape(()).item()
        return found

    def type_of(self, index: int) -> str:
        return type_name(self._input(index))

    def _literal(self, value: Value) -> float | int | None:
        """Constants of one element that many models share stand in the text; others are loaded."""
        data = value.data
        if data is None or data.size != 1 or data.ndim > len(self._body.space.shape) or data.dtype.kind not in "biuf":
            return None
        found: float | int = data.reshape(()).item()
        return found if len(f"{found:g}") <= 5 and float(f"{found:g}") == found else None


def pointwise(c: Lowering, nodes: Iterable[Node], outputs: Iterable[Value]) -> Nest:
    """One loop over elementwise nodes, in order, that stores ``outputs``; they all have one shape."""
    outputs = list(outputs)
    space = Space("", c.operand(outputs[0]).shape)
    nest = Nest(space.shape)
    body = Body(c, nest, space)
    try:
        with nest.writer.each():
            for node in nodes:
                body.write(node)
            for value in outputs:
                body.store(value, body.known[value])
        nest.finish()
    except (NotLowered, LoopError) as e:
        c.refuse(str(e))
    return nest


def run_pointwise(c: Lowering, nodes: Sequence[Node], inputs: Sequence[Value | None], outputs: Sequence[Value]) -> None:
    """Lowers elementwise nodes to one call."""
    whole = c.operand(outputs[0])
    over = Over(whole.shape, {"": Space("", whole.shape)}, whole.size, lambda _: max(1, whole.size // SHARE))
    run(c, nodes, inputs, outputs, lambda: pointwise(c, nodes, outputs), lambda: over)
