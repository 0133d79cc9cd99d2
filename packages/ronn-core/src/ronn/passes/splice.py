"""Putting the nodes of one graph (a function body, a branch) into another, before a node that they replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ronn.errors import ModelError
from ronn.ir.graph import Attr, AttrRef, Graph, Node, Value, clone
from ronn.passes.edit import replace_value, take_over
from ronn.passes.manager import PassContext
from ronn.passes.names import own_outputs


def splice(
    graph: Graph,
    anchor: Node,
    body: Graph,
    inputs: Sequence[Value | None],
    context: PassContext,
    attributes: Mapping[str, Attr | None] | None = None,
) -> tuple[list[Node], list[Value | None]]:
    """Copies the nodes of ``body`` to just before ``anchor``, its inputs replaced by ``inputs`` (None: omitted).

    attributes: what ``AttrRef``s of a function body stand for; one that is None or missing drops the attribute.
    Returns the new nodes and the values of the body's outputs (None for an output that is an omitted input).
    """
    copy = clone(body)
    own_outputs(copy, context.names)
    if attributes is not None:
        _bind_attributes(copy, attributes)
    prefix = anchor.name or (anchor.outputs[0].name if anchor.outputs else anchor.op)
    _rename(copy, prefix, context)
    given: dict[int, Value | None] = {id(v): None for v in copy.inputs}
    given.update({id(formal): actual for formal, actual in zip(copy.inputs, inputs, strict=False)})
    for formal in copy.inputs:
        for user, index in list(formal.uses):
            user.set_input(index, given[id(formal)])
    for value in list(copy.initializers.values()):
        graph.initializers[value.name] = value
    outputs = [given.get(id(v), v) for v in copy.outputs]
    copy.outputs = []
    nodes = []
    for node in copy:
        node.name = f"{prefix}/{node.name}" if node.name else ""
        moved = Node(node.op, node.inputs, (), node.attributes, domain=node.domain, version=node.version)
        moved.name, moved.overload, moved.tags = node.name, node.overload, (*anchor.tags, *node.tags)
        moved.outputs = node.outputs
        for out in moved.outputs:
            out.producer = moved
        node.set_inputs(())
        graph.insert_before(anchor, moved)
        nodes.append(moved)
    return nodes, outputs


def replace_node(
    graph: Graph, old: Node, nodes: list[Node], outputs: Sequence[Value | None], context: PassContext
) -> list[Node]:
    """Puts ``outputs`` (of spliced ``nodes``) in the place of those of ``old``, which goes. Returns all nodes made."""
    made, taken = list(nodes), set()
    members = set(nodes)
    for out, new in zip(old.outputs, outputs, strict=False):
        if new is None:
            if out.uses or graph.is_output(out):
                raise ModelError(f"output %{out.name} is an optional input that the call omits", node=old)
        elif new.producer in members and id(new) not in taken:
            taken.add(id(new))
            take_over(graph, out, new)
        elif (identity := replace_value(graph, out, new, context)) is not None:
            made.append(identity)
    graph.remove(old)
    return made


def _rename(graph: Graph, prefix: str, context: PassContext) -> None:
    """Names that are new in the model, for every value and inner value."""
    renamed: dict[str, Value] = {}
    for value in graph.values():
        if value.name:
            is_constant = value.name in graph.initializers and graph.initializers[value.name] is value
            value.name = context.names.claim(f"{prefix}/{value.name}")
            if is_constant:
                renamed[value.name] = value
    graph.initializers = renamed
    for node in graph:
        for sub in node.subgraphs():
            _rename(sub, prefix, context)


def _bind_attributes(graph: Graph, attributes: Mapping[str, Attr | None]) -> None:
    for node in graph:
        bound: dict[str, Any] = {}
        for name, value in node.attributes.items():
            if isinstance(value, AttrRef):
                value = attributes.get(value.name)
                if value is None:
                    continue
                if isinstance(value, Graph):
                    value = clone(value)
            bound[name] = value
        node.attributes = bound
        for sub in node.subgraphs():
            _bind_attributes(sub, attributes)
