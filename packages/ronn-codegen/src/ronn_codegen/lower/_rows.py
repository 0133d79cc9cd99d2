"""Groups of nodes around one that works on rows (a reduction, softmax, a normalisation) as one loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ronn.records import dataclass
from ronn_codegen.loops.language import FLOATS, HALVES, Loop, LoopError
from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.pointwise import NotLowered
from ronn_codegen.loops.rows import LAST_AXIS, REDUCES, ROWS
from ronn_codegen.lower._loops import Body, Space, nowhere, type_name
from ronn_codegen.lower._made import Over, run
from ronn_codegen.lowering import Lowering, Operand

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_codegen.loops.write import Value as Element


@dataclass(frozen=True)
class Frame:
    """How a node's input is cut into rows: its shape, the axes of a row, and ``groups``: into how many the channels
    (axis 1) are cut, each with rows of its own (0: they are not). ``params``: the axis that the parameters go along
    (None: they broadcast)."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    params: int | None = None
    groups: int = 0

    @property
    def outer(self) -> tuple[int, ...]:
        return tuple(a for a in range(len(self.shape)) if a not in self.axes)

    @property
    def dims(self) -> list[int]:
        """Dims of the loop, those of a row last."""
        dims = [self.shape[a] for a in (*self.outer, *self.axes)]
        if self.groups:
            dims[1:2] = [self.groups, dims[1] // self.groups]
        return dims

    @property
    def inner(self) -> int:
        """How many of the dims are a row's."""
        return len(self.axes) + bool(self.groups)

    def place(self, strides: Sequence[int]) -> list[int]:
        """Strides along the shape's axes as strides along ``dims``."""
        laid = [strides[a] for a in (*self.outer, *self.axes)]
        if self.groups:
            laid[1:2] = [laid[1] * (self.shape[1] // self.groups), laid[1]]
        return laid

    @property
    def rows(self) -> int:
        return math.prod(self.dims[: len(self.dims) - self.inner])


def frame(node: Node) -> Frame | None:
    """The rows that a node works on; None when it is none that works on rows. NotLowered when they are not known."""
    key = (node.domain, node.op)
    if key not in ROWS and key not in REDUCES:
        return None
    c = Lowering((node,), nowhere())
    x = c.input(0)
    if x is None or x.size == 0:
        raise NotLowered("no elements")
    shape = x.shape
    rank = len(shape)
    if rank == 0:
        shape, rank = (1,), 1
    if key in LAST_AXIS:
        return Frame(shape, (rank - 1,))
    if key in REDUCES:
        return Frame(shape, _reduced(c, node, rank))
    match node.op:
        case "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization":
            return Frame(shape, (rank - 1,))
        case "Softmax" | "LogSoftmax" | "Hardmax" if c.since < 13:
            start = int(c.attr("axis", 1))
            return Frame(shape, tuple(range(start % rank if start < rank else rank, rank)))
        case "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization":
            return Frame(shape, (int(c.attr("axis", -1)) % rank,))
        case "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization":
            return Frame(shape, tuple(range(int(c.attr("axis", -1)) % rank, rank)))
        case "InstanceNormalization":
            return Frame(shape, tuple(range(2, rank)), 1)
        case "GroupNormalization":
            return Frame(shape, tuple(range(2, rank)), 1, int(c.attr("num_groups")))
        case "MeanVarianceNormalization":
            axes = c.attr("axes", [0, 2, 3])
            return Frame(shape, tuple(sorted(int(a) % rank for a in axes)))
    raise NotLowered(f"{node.op_id} has no frame")


def _reduced(c: Lowering, node: Node, rank: int) -> tuple[int, ...]:
    if node.op in ("ArgMax", "ArgMin"):
        return (int(c.attr("axis", 0)) % rank,)
    given = c.attr("axes")
    second = node.input(1)
    if given is None and second is not None:
        if second.data is None:
            raise NotLowered("axes that are not constant")
        given = second.data.reshape(-1).tolist()
    if not given:
        if c.attr("noop_with_empty_axes", 0):
            raise NotLowered("no axes")
        return tuple(range(rank))
    return tuple(sorted({int(a) % rank for a in given}))


class RowBody:
    """Writes the loop of a group: what stands before ``anchor``, its sections, and what stands behind it."""

    def __init__(self, c: Lowering, nodes: Sequence[Node], anchor: Node, outputs: Sequence[Value]) -> None:
        found = frame(anchor)
        assert found is not None
        self.c, self.anchor, self.frame, self.outputs = c, anchor, found, list(outputs)
        self.made = {n.outputs[0]: n for n in nodes if n is not anchor}
        self.reducing = (anchor.domain, anchor.op) in REDUCES
        self.nest = Nest(found.dims, found.inner)
        facts = Lowering((anchor,), c.context)
        self.op, self.since, self.attr = anchor.op, facts.since, facts.attr
        writer = self.nest.writer
        self.reduce, self.count, self.position = writer.reduce, writer.count, writer.position
        self.spaces = spaces(c, anchor, found)
        self.body = Body(c, self.nest, self.spaces["each"])
        self.late = _behind(anchor, nodes)
        self.written: set[Value] = set()
        self._held: str = ""  # what the last output's memory holds meanwhile
        source = anchor.inputs[0]
        assert source is not None
        self._source = source

    # --- what rules call

    @contextmanager
    def each(self) -> Iterator[None]:
        self._enter("each")
        with self.nest.writer.each():
            yield

    @contextmanager
    def row(self) -> Iterator[None]:
        self._enter("row" if self.reducing else "each")
        with self.nest.writer.row():
            yield

    def _enter(self, space: str) -> None:
        self.body.known, self.body.space = {}, self.spaces[space]

    def x(self) -> Element:
        if self._held == "input":
            return self.kept()
        element = self.wide(self._source)
        if self._source in self.made and self._source not in self.written and self.keep(element):
            self._held = "input"
        if self.reducing:
            for output in self.outputs:
                if output not in self.late:
                    self.wide(output)  # stored on the way, here where there are elements of its shape
        return element

    def param(self, index: int) -> Element | None:
        value = self.anchor.input(index)
        if value is None:
            return None
        axis = self.frame.params
        if axis is None:
            return self.body.wide(value)
        operand = self.c.operand(value)
        if operand.rank == 1 and operand.shape == (self.frame.shape[axis],):
            element = self.body.load(operand, along_channels, axis)
        elif self.frame.groups and operand.shape == (self.frame.groups,):
            laid = [0, 1] + [0] * (len(self.frame.dims) - 2)
            element = self.nest.load(value, type_name(value), laid)
        else:
            raise NotLowered("parameters that do not fit the channels")
        return element.cast("f32") if element.dtype in HALVES else element

    def keep(self, value: Element) -> bool:
        target = self._target
        if target is None or type_name(target) != value.dtype or value.dtype not in FLOATS:
            return False
        self.body.store(target, value)
        self._held = "value"
        return True

    def kept(self) -> Element:
        target = self._target
        assert target is not None
        return self.body.reload(target)

    @property
    def _target(self) -> Value | None:
        """An output with room for an element of every row, that is not written before the last section."""
        if self.reducing:
            return None
        first = [n.outputs[0] for n in (self.anchor, *self.made.values())]
        return next(v for v in first if v in self.late and v in self.outputs)

    def finish(self, value: Element) -> None:
        result = self.anchor.outputs[0]
        name = type_name(result)
        self.body.known[result] = value if name in HALVES else value.cast(name)
        for output in self.outputs:
            if output in self.written or output in self.anchor.outputs[1:]:
                continue
            element = self.wide(output)
            if output not in self.written:
                self.store(output, element)

    def result(self, index: int, value: Element) -> None:
        if index < len(self.anchor.outputs) and self.anchor.outputs[index] in self.outputs:
            output = self.anchor.outputs[index]
            name = type_name(output)
            self._store_row(output, name, value)
            self.written.add(output)

    def output(self, index: int, value: Element) -> bool:
        if index >= len(self.anchor.outputs) or self.anchor.outputs[index] not in self.outputs:
            return False
        self.body.store(self.anchor.outputs[index], value)
        return True

    def reload(self, index: int) -> Element:
        element = self.body.reload(self.anchor.outputs[index])
        return element.cast("f32") if element.dtype in HALVES else element

    # --- elements

    def wide(self, value: Value) -> Element:
        """The element of a value in the open section: made here, stored before, or made again."""
        known = self.body.known
        if value not in known:
            node = self.made.get(value)
            if node is None or value in self.written:
                known[value] = self.body.reload(value)
            else:
                for given in node.inputs:
                    if given is not None and given in self.made:
                        self.wide(given)
                self.body.write(node)
                if value in self.outputs and value not in self.late:
                    self.store(value, known[value])
        return self.body.wide(value)

    def store(self, value: Value, element: Element) -> None:
        if self.reducing and value in self.late:
            self._store_row(value, type_name(value), element)
        else:
            self.body.store(value, element)
        self.written.add(value)

    def _store_row(self, output: Value, name: str, element: Element) -> None:
        """Writes an output with one element a row."""
        strides = one_a_row(self.c.operand(output), self.spaces["rows"])
        self.nest.store(output, name, strides, element.cast(name), (one_a_row, "rows"))


def spaces(c: Lowering, anchor: Node, found: Frame) -> dict[str, Space]:
    """What the sections of a loop around ``anchor`` go over: ``each``, and ``row`` where it is a reduction; ``rows`` is
    the dims of the loop, those of a row as 1."""
    made = {"each": Space("each", found.shape, found.place)}
    if (anchor.domain, anchor.op) in REDUCES:
        rank, inner = len(found.shape), found.inner

        def place(strides: Sequence[int]) -> list[int]:
            """Strides along the axes of a reduction's output as strides along ``dims``."""
            return found.place(strides) if len(strides) == rank else [*strides, *[0] * inner]

        made["row"] = Space("row", c.operand(anchor.outputs[0]).shape, place)
    dims = found.dims
    made["rows"] = Space("rows", (*dims[: len(dims) - found.inner], *[1] * found.inner))
    return made


def one_a_row(operand: Operand, space: Space) -> list[int]:
    """Strides along ``dims`` of an output with one element a row."""
    return [0 if d == 1 else s for d, s in zip(space.shape, _c_order(space.shape), strict=True)]


def along_channels(operand: Operand, space: Space, axis: int) -> list[int]:
    """Strides along ``dims`` of a parameter that lies along one axis of the input."""
    if operand.shape != (space.shape[axis],):
        raise NotLowered("parameters that do not fit the channels")
    return space.place([int(k == axis) for k in range(len(space.shape))])


def _behind(anchor: Node, nodes: Sequence[Node]) -> set[Value]:
    """What depends on ``anchor``, its output among it; ``nodes`` are in order."""
    late = {anchor.outputs[0]}
    for node in nodes:
        if any(i in late for i in node.inputs):
            late.add(node.outputs[0])
    return late


def _c_order(shape: Sequence[int]) -> list[int]:
    out, step = [], 1
    for d in reversed(shape):
        out.append(step)
        step *= d
    return out[::-1]


def row_loop(c: Lowering, nodes: Sequence[Node], anchor: Node, outputs: Sequence[Value]) -> Nest:
    """The loop of a group around ``anchor`` that stores ``outputs``. Refuses."""
    rule = {**ROWS, **REDUCES}[anchor.domain, anchor.op]
    try:
        writer = RowBody(c, nodes, anchor, outputs)
        rule(writer)
        writer.nest.finish()
    except (NotLowered, LoopError) as e:
        c.refuse(str(e))
    return writer.nest


def run_rows(
    c: Lowering, nodes: Sequence[Node], anchor: Node, inputs: Sequence[Value | None], outputs: Sequence[Value]
) -> None:
    """Lowers a group around ``anchor`` to one call."""

    def over() -> Over:
        found = frame(anchor)
        assert found is not None
        rows = found.rows

        def chunks(loop: Loop) -> int:
            return rows if loop.vector == "inner" else max(rows // 16, 1)

        return Over(found.dims, spaces(c, anchor, found), math.prod(found.shape), chunks)

    run(c, nodes, inputs, outputs, lambda: row_loop(c, nodes, anchor, outputs), over)
