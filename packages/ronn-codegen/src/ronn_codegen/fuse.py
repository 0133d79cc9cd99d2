"""Which nodes of a part become one loop: elementwise neighbours, and what stands before and behind a row operator.

Groups are as large as they can be with one iteration space and at most one operator on rows, as long as the groups can
still run one after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ronn.records import dataclass, field
from ronn_codegen.loops.pointwise import RULES, NotLowered
from ronn_codegen.loops.rows import REDUCES, ROWS
from ronn_codegen.lower._loops import nowhere, pointwise, run_pointwise, type_name
from ronn_codegen.lower._rows import frame, run_rows
from ronn_codegen.lowering import Context, GroupLowering, Lowering, Operand, Refused, group_interface

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn.provider.contract import Part

Shape = tuple[int, ...]

_NODES, _VALUES = 24, 14  # more in one loop would only spill registers
_SERIAL_ROWS, _LARGE = 8, 1 << 14  # fewer rows leave threads idle: elementwise work on more elements stays outside


_tried: dict[tuple[object, ...], bool] = {}


def forget() -> None:
    """Forgets what was tried: operators may mean something else now."""
    _tried.clear()


@dataclass(eq=False)
class _Group:
    """Nodes that will be one loop over ``space``. ``sources``: nodes of others that make what they take; ``after``: the
    bits of all groups that must run before; ``used``: whether another group takes what they make."""

    bit: int
    nodes: list[Node]
    space: Shape | None  # None: a node of another kind, alone
    anchor: Node | None = None
    result: Shape | None = None  # the shape behind a reduction
    after: int = 0
    used: bool = False
    sources: dict[Node, None] = field(default_factory=dict)
    values: set[Value] = field(default_factory=set)


def groups(part: Part, context: Context | None = None) -> list[tuple[Node, ...]]:
    """The nodes of a part in groups, in an order that can run; most groups are one node. ``context``: that in which
    they will be lowered."""
    grouping = _Grouping(nowhere() if context is None else context)
    for node in part.nodes:
        grouping.take(node)
    return grouping.ordered()


class _Grouping:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.of: dict[Node, _Group] = {}
        self.all: dict[int, _Group] = {}
        self.made: dict[Value, Node] = {}
        self.place: dict[Node, int] = {}

    def take(self, node: Node) -> None:
        """Puts a node, whose inputs are made by nodes taken before, into a group."""
        group = _alone(node, 1 << len(self.of), self.context.operand)
        self.of[node] = group
        self.all[group.bit] = group
        self.place[node] = len(self.place)
        for value in node.inputs:
            maker = None if value is None else self.made.get(value)
            if maker is not None:
                source = self.of[maker]
                group.sources[maker] = None
                group.after |= source.after | source.bit
        for value in node.outputs:
            self.made[value] = node
        # The latest first: what stands between it and earlier ones may then be inside.
        for maker in sorted(group.sources, key=self.place.__getitem__, reverse=True):
            source, group = self.of[maker], self.of[node]
            if source is not group:
                if _fit(source, group, node) and not self._between(source, group):
                    self._join(source, group)
                else:
                    source.used = True

    def _between(self, first: _Group, second: _Group) -> bool:
        """Whether another group must run behind ``first`` and before ``second``."""
        return any(self.of[n].after & first.bit for n in second.sources if self.of[n] is not first)

    def _join(self, first: _Group, second: _Group) -> None:
        """Makes both one; ``second`` runs behind ``first``."""
        first.nodes += second.nodes
        first.values |= second.values
        if second.anchor is not None:
            first.anchor, first.space, first.result = second.anchor, second.space, second.result
        for node in second.nodes:
            self.of[node] = first
        first.sources = {n: None for n in (*first.sources, *second.sources) if self.of[n] is not first}
        first.after = (first.after | second.after) & ~(first.bit | second.bit)
        del self.all[second.bit]
        if first.used or second.used:
            first.used = True
            both = first.bit | second.bit
            for other in self.all.values():
                if other.after & both:
                    other.after = other.after & ~second.bit | first.bit | first.after

    def ordered(self) -> list[tuple[Node, ...]]:
        """Groups where their last node stands, or before that if others need them."""
        place = self.place
        out: list[tuple[Node, ...]] = []
        done: set[int] = set()

        def emit(group: _Group) -> None:
            if group.bit not in done:
                done.add(group.bit)
                for node in group.sources:
                    emit(self.of[node])
                out.append(tuple(sorted(group.nodes, key=place.__getitem__)))

        last = {g.bit: max([place[n] for n in g.nodes]) for g in self.all.values()}
        for node in place:
            group = self.of[node]
            if place[node] == last[group.bit]:
                emit(group)
        return out


def _alone(node: Node, bit: int, operand: Callable[[Value], Operand]) -> _Group:
    """A node as a group; with a space if loops are made of such nodes."""
    lone = _Group(bit, [node], None)
    key = (node.domain, node.op)
    if key not in RULES and key not in ROWS and key not in REDUCES:
        return lone
    try:
        output = operand(node.outputs[0])
        if output.size == 0 or 0 in [operand(v).size for v in node.inputs if v is not None]:
            return lone
        lone.values = {v for v in (*node.inputs, *node.outputs) if v is not None and not v.is_const}
        if key in RULES:
            if _elementwise(node, operand):
                lone.space = output.shape
            return lone
        found = frame(node)
        assert found is not None
        type_name(node.outputs[0])
        if found.rows < _SERIAL_ROWS and math.prod(found.shape) > _LARGE:
            return lone
        lone.anchor, lone.space = node, found.shape
        if key in REDUCES:
            lone.result = output.shape
    except (NotLowered, Refused):
        pass
    return lone


def _elementwise(node: Node, operand: Callable[[Value], Operand]) -> bool:
    """Whether there is a loop for an elementwise node: written once for each combination of types and attributes."""
    if node.op == "Identity" or any(v.name and v.uses for v in node.outputs[1:]):
        return False
    given = [None if v is None else (type_name(v), operand(v).rank, _number(v)) for v in node.inputs]
    key = (node.op_id, node.version, repr(given), type_name(node.outputs[0]), repr(sorted(node.attributes.items())))
    if key not in _tried:
        if len(_tried) > 10_000:
            _tried.clear()
        try:
            pointwise(Lowering((node,), nowhere()), (node,), node.outputs[:1])
            _tried[key] = True
        except Refused:
            _tried[key] = False
    return _tried[key]


def _number(value: Value) -> object:
    """What a rule may look at: the constant itself when it is one element."""
    return None if value.data is None or value.data.size != 1 else value.data.reshape(()).item()


def _fit(first: _Group, second: _Group, node: Node) -> bool:
    """Whether both can be one loop; ``node`` is in ``second`` and takes something that ``first`` makes."""
    if first.space is None or second.space is None:
        return False
    if len(first.nodes) + len(second.nodes) > _NODES or len(first.values | second.values) > _VALUES + _NODES:
        return False
    if len(_outside(first.nodes + second.nodes)) > _VALUES:
        return False
    if first.anchor is not None and second.anchor is not None:
        return False
    if second.anchor is not None:
        source = second.anchor.inputs[0]
        if second.anchor is not node or len(second.nodes) > 1:
            return False
        from_first = {v for n in first.nodes for v in n.outputs}
        return first.space == second.space and source in from_first and not from_first & set(node.inputs[1:])
    if first.anchor is not None:
        if first.result is None:
            return first.space == second.space and not _takes_extra(first.anchor, second.nodes)
        if first.result != second.space or first.result == first.space:
            return False
        early = {v for n in first.nodes if n is not first.anchor for v in n.outputs} - _late(first)
        return not any(v in early for n in second.nodes for v in n.inputs)
    return first.space == second.space


def _late(group: _Group) -> set[Value]:
    """What depends on the anchor of a group; its nodes are in the order in which they were taken."""
    assert group.anchor is not None
    late = {group.anchor.outputs[0]}
    for node in group.nodes:
        if any(v in late for v in node.inputs):
            late.update(node.outputs)
    return late


def _takes_extra(anchor: Node, nodes: Sequence[Node]) -> bool:
    """Whether nodes use further outputs of the anchor, which have another shape."""
    extra = set(anchor.outputs[1:])
    return any(v in extra for n in nodes for v in n.inputs)


def _outside(nodes: Sequence[Node]) -> set[Value]:
    """Values that come from outside or are used there: what the loop has addresses of."""
    inside = set(nodes)
    made = {v for n in nodes for v in n.outputs}
    taken = {v for n in nodes for v in n.inputs if v is not None}
    return (taken - made) | {v for v in made if v.name and any(user not in inside for user in v.consumers)}


# --- lowering


def lower_group(c: GroupLowering) -> None:
    """A group of several nodes as one loop. Refuses what cannot be one."""
    graph = c.node.graph
    inputs, outputs = group_interface(c.nodes, set() if graph is None else set(graph.outputs))
    nodes = _wanted(c.nodes, outputs)
    anchor = next((n for n in nodes if (n.domain, n.op) in ROWS or (n.domain, n.op) in REDUCES), None)
    if not nodes:
        return  # nobody wants what they make
    if anchor is None:
        run_pointwise(c, nodes, inputs, outputs)
    else:
        run_rows(c, nodes, anchor, inputs, outputs)


def _wanted(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """Those of ``nodes`` (in order) that ``outputs`` depend on."""
    needed = set(outputs)
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(v in needed for v in node.outputs):
            kept.append(node)
            needed.update(v for v in node.inputs if v is not None)
    return kept[::-1]
