"""Nodes before the sizes of a run are known: looked at with sizes of our own in the place of the graph's symbols."""

from __future__ import annotations

from ronn.ir.dims import Sym, substitute
from ronn.ir.graph import Node, Value
from ronn.ir.types import TensorType

_SAMPLE = 8


def sized(node: Node, counted: bool) -> Node | None:
    """The node itself where all its sizes are known; a copy with sample sizes where they may hang on those of the
    graph's inputs alone, which each run tells before anything is compiled; None where only a run finds them out.
    ``counted``: those of its outputs may be found out by its kernels."""
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    asked = [v for v in node.inputs if v is not None] if counted else values
    names = {name for v in asked for name in _symbols(v)}
    if not names and not any(_is_open(v) for v in asked):
        return node
    graph = node.graph
    told = set() if graph is None else {name for v in graph.inputs for name in _symbols(v)}
    if not names <= told:
        return None
    if not told:
        return node  # every size that inputs tell is known: the lowering says what is missing
    binding = dict.fromkeys(names, _SAMPLE)
    made = {v: _bound(v, binding) for v in values}
    copy = Node(
        node.op,
        [None if v is None else made[v] for v in node.inputs],
        [made[v] for v in node.outputs],
        dict(node.attributes),
        domain=node.domain,
        version=node.version,
        name=node.name,
        overload=node.overload,
    )
    copy.tags = node.tags
    return copy


def _is_open(value: Value) -> bool:
    return None in (value.tensor.shape or ())


def _symbols(value: Value) -> set[str]:
    return {name for d in value.tensor.shape or () if isinstance(d, Sym) for name in d.names()}


def _bound(value: Value, binding: dict[str, int]) -> Value:
    t = value.type
    if isinstance(t, TensorType) and t.shape is not None:
        # A dim that nothing tells yet may come of several of the inputs', as that of a broadcast does.
        t = TensorType(t.dtype, tuple(_SAMPLE if d is None else substitute(d, dict(binding)) for d in t.shape))
    return Value(value.name, t, data=value.data)
