"""Splitting a graph where sizes depend on data: the head has known sizes, the tail waits for what the head finds out.

A node whose output size nothing tells before it runs ends the head. Where its size hangs on the *value* of an operand
that the head computes (the shape of Reshape, the limit of Range), the node belongs to the tail, and the tail is
specialised for that value; where it must run first (NonZero), it is the head's last node, and the tail is specialised
for the size that came out.

Inputs of the graph whose values sizes hang on (those of Resize, Slice, Pad) split it too, however short the tail: it is
specialised for a few values, as long as they come again.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from ronn.ir.graph import Graph, Node, Value, clone_node
from ronn.ir.types import TensorType
from ronn.partition import LATER, needs
from ronn.records import dataclass

LEAST_TAIL = 8
"""Nodes below which a tail is not worth plans of its own, unless it hangs on values of the graph's inputs alone."""

_SMALL = 512
"""Elements of an input at most whose value plans are made for."""
_TINY, _FEW = 64, 32
"""Elements of what is computed from such inputs, at most, and nodes that compute it: shapes, not networks."""

_SHAPE_OPERANDS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Range": (0, 1, 2), "Tile": (1,), "ConstantOfShape": (0,),
    "Pad": (1, 3), "Resize": (1, 2, 3), "Upsample": (1,), "TopK": (1,), "Split": (1,), "OneHot": (1,), "Squeeze": (1,),
    "Unsqueeze": (1,), "CenterCropPad": (1,), "ReduceSum": (1,), "ReduceMean": (1,), "ReduceMax": (1,),
    "ReduceMin": (1,), "ReduceProd": (1,), "ReduceL1": (1,), "ReduceL2": (1,), "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,), "ReduceSumSquare": (1,), "AffineGrid": (1,), "BlackmanWindow": (0,), "HannWindow": (0,),
    "HammingWindow": (0,), "SplitToSequence": (1,), "DFT": (1, 2), "STFT": (1, 2, 3), "Col2Im": (1, 2),
    "MaxUnpool": (2,), "Dropout": (1, 2), "MelWeightMatrix": (0, 1, 2, 3, 4), "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "MatMulInteger": (3,),
}  # fmt: skip


@dataclass(frozen=True)
class Split:
    """``crossing`` are values of the head graph that the tail takes, in the order of its inputs; ``by_value`` are the
    numbers of those inputs that sizes hang on. ``outputs`` gives, for each output of the whole graph, the head's value
    or the number of the tail's output. ``given``: sizes hang on inputs of the graph alone."""

    head: Graph
    tail: Graph
    crossing: tuple[Value, ...]
    by_value: tuple[int, ...]
    outputs: tuple[Value | int, ...]
    given: bool


def split(graph: Graph, given: bool = True, forced: bool = False) -> Split | None:
    """The two halves of ``graph``, copied; None when every size is known, or too little would be gained.

    ``given``: whether values of the graph's inputs alone are reason enough. ``forced``: however short the tail, which
    takes in all nodes that are placed later.
    """
    if not any(_of_unknown_size(node) or _wanted_operands(node) for node in graph):
        return None  # the usual case, found out quickly
    head, tail, wanted = _sort(graph)
    short = not forced and (len(tail) < LEAST_TAIL or not head)
    if forced:
        behind = set(tail)
        if not head or any(node.provider == LATER and node not in behind for node in graph):
            head, tail, wanted = _sort(graph, _small(graph))
        if not head and not (given and wanted):
            return None
    elif short:
        if not given:
            return None
        given_values = _given(graph)
        wider = _sort(graph, given_values)
        if len(wider[1]) < LEAST_TAIL:  # more is too much to plan anew where sizes are known
            head, tail, wanted = wider
        if not wanted or not wanted <= given_values:
            return None
        head, tail, wanted, makers = _with_makers(graph, head, tail, wanted)
        if makers > _FEW:
            return None
    made_in_tail = {v for node in tail for v in node.outputs}
    crossing = list(dict.fromkeys(v for node in tail for v in needs(node) if not v.is_const and v not in made_in_tail))
    tail_outputs = list(dict.fromkeys(o for o in graph.outputs if o in made_in_tail))
    if not crossing or (short and any(_open(v) for v in crossing)):
        return None
    head_outputs = list(dict.fromkeys([*crossing, *(o for o in graph.outputs if o not in made_in_tail)]))
    head_graph, to_head = copy_nodes(graph, head, graph.inputs, head_outputs)
    tail_graph, _ = copy_nodes(graph, tail, crossing, tail_outputs)
    outputs = tuple(tail_outputs.index(o) if o in made_in_tail else to_head[o] for o in graph.outputs)
    by_value = tuple(i for i, v in enumerate(crossing) if v in wanted)
    return Split(head_graph, tail_graph, tuple(to_head[v] for v in crossing), by_value, outputs, short)


def _sort(graph: Graph, given: Container[Value] = ()) -> tuple[list[Node], list[Node], set[Value]]:
    """Nodes of the head, nodes of the tail, and the head's values that sizes in the tail hang on. Nodes with such
    operands among ``given`` alone go to the tail even where their own sizes are known."""
    head: list[Node] = []
    tail: list[Node] = []
    open_: set[Value] = set()  # values that only the tail may use
    wanted: set[Value] = set()
    for node in graph:
        operands = _wanted_operands(node)
        if any(v in open_ for v in needs(node)):
            tail.append(node)
            open_.update(node.outputs)
            wanted.update(v for v in operands if v not in open_)
        elif not _of_unknown_size(node) and not (operands and all(v in given for v in operands)):
            head.append(node)
        elif operands:
            tail.append(node)
            open_.update(node.outputs)
            wanted.update(operands)
        else:
            head.append(node)
            open_.update(node.outputs)
    return head, tail, wanted


def behind_values(graph: Graph) -> list[Node]:
    """The nodes whose sizes hang on values that are not known, or that take such values by what they are, and the nodes
    behind them."""
    return _sort(graph, _small(graph))[1]


def _small(graph: Graph) -> set[Value]:
    """All values that plans can be made for."""
    made = (v for node in graph for v in node.outputs)
    return {v for v in (*graph.inputs, *made) if _holds(v, _SMALL)}


def _given(graph: Graph) -> set[Value]:
    """Small inputs of the graph, and what little is computed from them alone."""
    found = {v for v in graph.inputs if _holds(v, _SMALL)}
    for node in graph:
        taken = needs(node)
        little = all(v in found or (v.is_const and _holds(v, _SMALL)) for v in taken)
        if little and taken and all(_holds(v, _TINY) for v in node.outputs if v.name):
            found.update(v for v in node.outputs if v.name)
    return found


def _holds(value: Value, most: int) -> bool:
    return isinstance(value.type, TensorType) and value.type.is_static and value.type.size <= most


def _with_makers(
    graph: Graph, head: list[Node], tail: list[Node], wanted: set[Value]
) -> tuple[list[Node], list[Node], set[Value], int]:
    """Nodes of the head that do nothing but compute ``wanted`` from inputs go to the tail, where they are constants; so
    do copies of those that the head needs too. Then sizes hang on the inputs themselves. Counts these nodes."""
    makers: set[Node] = set()
    leaves: set[Value] = set()
    todo = list(wanted)
    while todo:
        value = todo.pop()
        if value.producer is None:
            leaves.add(value)
        elif value.producer not in makers:
            makers.add(value.producer)
            todo += [v for v in needs(value.producer) if not v.is_const]
    inside = {*tail, *makers}
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(head):
        if node not in makers or any(v in needed for v in node.outputs):
            kept.append(node)
            needed.update(needs(node))
    return kept[::-1], [node for node in graph if node in inside], leaves, len(makers)


def _wanted_operands(node: Node) -> list[Value]:
    """The operands that are no constants whose values sizes hang on."""
    places = _SHAPE_OPERANDS.get(node.op) if node.domain == "" else None
    if places is None:
        return []
    return [v for v in map(node.input, places) if v is not None and v.data is None]


def hangs_on_values(node: Node) -> bool:
    """Whether a size of the node, or what it does, hangs on values that only a run has."""
    shapes = [v.type.shape for v in node.outputs if v.name and isinstance(v.type, TensorType)]
    return bool(_wanted_operands(node)) or any(s is None or None in s for s in shapes)


def _of_unknown_size(node: Node) -> bool:
    """Whether an output is a tensor whose size is not known (or may be one)."""
    for v in node.outputs:  # noqa: SIM110  # asked for every node of every plan
        if v.name and (v.type is None or _open(v)):
            return True
    return False


def _open(value: Value) -> bool:
    return isinstance(value.type, TensorType) and not value.type.is_static


def copy_nodes(
    graph: Graph, nodes: list[Node], inputs: Iterable[Value], outputs: Iterable[Value]
) -> tuple[Graph, dict[Value, Value]]:
    """A graph of copies of ``nodes``."""
    mapping: dict[Value, Value] = {}
    out = Graph(graph.name)
    out._fresh, out.rewrites = graph._fresh, graph.rewrites

    def copied(value: Value) -> Value:
        if value not in mapping:
            mapping[value] = Value(value.name, value.type, data=value.data)
            mapping[value].shape_data = value.shape_data
        return mapping[value]

    out.inputs = [copied(v) for v in inputs]
    constants = [*(v for node in nodes for v in needs(node)), *outputs]
    for value in dict.fromkeys(v for v in constants if v.is_const):
        out.initializers[value.name] = copied(value)
    for node in nodes:
        out.append(clone_node(node, mapping))
    out.outputs = [mapping[v] for v in outputs]
    out.output_names = [v.name for v in outputs]
    return out, mapping
