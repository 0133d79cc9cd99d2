"""Computes once what is computed several times, and keeps one of equal constants."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any

import numpy as np

from ronn.ir.graph import AttrRef, Graph, Node, Value
from ronn.passes.edit import is_pure, may_hold_graphs, replace_value
from ronn.passes.manager import PassContext, define_pass

MAX_COMPARED = 1 << 20  # bytes of a constant compared by content; larger ones are equal when they are the same memory
MAX_LIST = 1 << 12  # elements of a list attribute that is compared; nodes with longer ones (forests) are not merged


@define_pass("common-subexpr", keeps_types=True, local=True)
def common_subexpr(graph: Graph, context: PassContext) -> bool:
    """Merges nodes with the same operator, inputs and attributes, and constants with the same content."""
    return _visit(graph, context, {}, {})


def _visit(
    graph: Graph, context: PassContext, constants: dict[Hashable, list[Value]], nodes: dict[Hashable, list[Node]]
) -> bool:
    """One scope. What the graphs around it have computed before it may be used in it, but not the reverse."""
    constants = {k: list(v) for k, v in constants.items()}
    nodes = {k: list(n) for k, n in nodes.items()}
    changed = False
    for value in list(graph.initializers.values()):
        if value.data is None or not value.uses or graph.is_output(value):
            continue
        alike = constants.setdefault(_outline(value.data), [])
        kept = next((v for v in alike if v.data is not None and _same_array(v.data, value.data)), None)
        if kept is None:
            alike.append(value)
        elif kept is not value and context.may_rewrite():
            graph.replace_uses(value, kept)
            context.rewrote(detail=f"constant {value.name} is {kept.name}")
            changed = True
    for node in graph:
        context.at, context.place = node, node.outputs[0].name if node.outputs else ""
        key = None if context.place in context.settled else _node_key(node)
        if key is not None:
            candidates = nodes.setdefault(key, [])
            # Attributes are compared only where everything else is equal: those of tree ensembles are huge.
            kept_node = next((n for n in candidates if _same_attributes(n, node)), None)
            if kept_node is None:
                candidates.append(node)
            elif context.may_rewrite() and _merge(graph, node, kept_node, context):
                changed = True
                continue
        if may_hold_graphs(node):
            for sub in node.subgraphs():
                changed |= _visit(sub, context, constants, nodes)
    return changed


def _merge(graph: Graph, node: Node, kept: Node, context: PassContext) -> bool:
    foreign = kept.graph is not graph
    if foreign and any(graph.is_output(v) for v in node.outputs):
        return False
    context.mark(kept)
    made = [replace_value(graph, old, new, context) for old, new in zip(node.outputs, kept.outputs, strict=True)]
    graph.remove(node)
    context.rewrote([n for n in made if n is not None], detail=f"{node.label} is {kept.label}")
    return True


def _node_key(node: Node) -> Hashable | None:
    if not node.outputs or not node.inputs or node.op == "Identity" or not is_pure(node):
        return None
    inputs = tuple(None if v is None else id(v) for v in node.inputs)
    wanted = tuple(bool(v.name) for v in node.outputs)
    return (node.domain, node.op, node.version, node.overload, inputs, wanted, tuple(sorted(node.attributes)))


def _same_attributes(a: Node, b: Node) -> bool:
    for name, value in a.attributes.items():
        key = _attr_key(value)
        if key is None or key != _attr_key(b.attributes[name]):
            return False
    return True


def _attr_key(value: Any) -> Hashable | None:
    """A key that is equal for equal attributes; None for what cannot be compared (graphs)."""
    if isinstance(value, Graph):
        return None
    if isinstance(value, float):
        return ("float", struct.pack("<d", value))
    if isinstance(value, np.ndarray):
        return _array_key(value)
    if isinstance(value, list):
        if len(value) > MAX_LIST:
            return None
        keys = tuple(_attr_key(v) for v in value)
        return None if None in keys else ("list", keys)
    if isinstance(value, AttrRef):
        return ("ref", value.name)
    return (type(value).__name__, value if isinstance(value, (int, str, bytes)) else str(value))


def _array_key(data: np.ndarray) -> Hashable | None:
    """A key that is equal for arrays of equal content; None when the array is too large."""
    if data.dtype.kind == "O":
        return (data.shape, tuple(data.reshape(-1))) if data.size <= 1024 else None
    return (data.dtype, data.shape, data.tobytes()) if data.nbytes <= MAX_COMPARED else None


def _outline(data: np.ndarray) -> Hashable:
    """What equal arrays share and is cheap to have: dtype, shape, the first and last element."""
    ends = (data[(0,) * data.ndim], data[(-1,) * data.ndim]) if data.size else ()
    return (data.dtype, data.shape, *(e.tobytes() if isinstance(e, np.generic) else str(e) for e in ends))


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one dtype and shape hold the same bits, as far as it is worth finding out."""
    if a is b:
        return True
    if a.dtype.kind == "O" or a.nbytes <= MAX_COMPARED:
        key = _array_key(a)
        return key is not None and key == _array_key(b)
    return bool(a.__array_interface__["data"] == b.__array_interface__["data"] and a.strides == b.strides)
