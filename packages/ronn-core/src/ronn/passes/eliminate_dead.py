"""Removes what nobody uses: nodes, constants, optional outputs."""

from __future__ import annotations

from ronn.ir.graph import Graph, Node
from ronn.ops.schema import schema_of
from ronn.passes.edit import is_used, may_hold_graphs
from ronn.passes.manager import PassContext, define_pass


@define_pass("eliminate-dead", keeps_types=True)
def eliminate_dead(graph: Graph, context: PassContext) -> bool:
    """Removes nodes and constants that nothing uses, and omits optional outputs that nobody reads."""
    changed = _sweep(graph, context)
    # Constants go last: inner graphs may have held their only uses.
    return _drop_constants(graph) or changed


def _sweep(graph: Graph, context: PassContext) -> bool:
    changed = False
    for node in reversed(graph):
        if not context.may_rewrite():
            return changed
        context.at = node
        if not any(is_used(v, graph) for v in node.outputs):
            graph.remove(node)
            context.rewrote(detail=f"removed {node.label}")
            changed = True
            continue
        if may_hold_graphs(node):
            for sub in node.subgraphs():
                changed |= _sweep(sub, context)
        if _omit_outputs(node, graph):
            context.rewrote((), detail=f"omitted outputs of {node.label}")
            changed = True
    return changed


def _omit_outputs(node: Node, graph: Graph) -> bool:
    """Blanks optional outputs that nobody reads, and drops them at the end of the list."""
    schema = schema_of(node)
    if schema is None or len(node.outputs) < 2:
        return False
    changed = False
    for i, value in enumerate(node.outputs):
        formal = schema.formal_output(i)
        if value.name and formal is not None and formal.optional and not is_used(value, graph):
            value.name = ""
            changed = True
    kept = list(node.outputs)
    while len(kept) > 1 and not kept[-1].name:
        kept.pop().producer = None
        changed = True
    node.outputs = tuple(kept)
    return changed


def _drop_constants(graph: Graph) -> bool:
    inputs = {id(v) for v in graph.inputs}
    dead = [k for k, v in graph.initializers.items() if not is_used(v, graph) and id(v) not in inputs]
    for name in dead:
        del graph.initializers[name]
    changed = bool(dead)
    for node in graph:
        if may_hold_graphs(node):
            for sub in node.subgraphs():
                changed |= _drop_constants(sub)
    return changed
