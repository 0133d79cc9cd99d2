"""Turns fused ``ronn::`` nodes that nobody takes back into the operators that they stand for."""

from __future__ import annotations

from ronn.ir.graph import Graph
from ronn.passes.edit import Builder, replace_value, take_over, walk
from ronn.passes.manager import PassContext, define_pass


@define_pass("lower-fused", requires_types=True, required=True, keeps_types=True)
def lower_fused(graph: Graph, context: PassContext) -> bool:
    """Expands fused nodes that no provider claims."""
    from ronn.ops.fused import decompose

    changed = False
    for owner, node in walk(graph, context):
        if node.domain != "ronn" or context.takes(node):
            continue
        builder = Builder(owner, node, context)
        result = decompose(builder, node)
        if result is None:
            continue
        if result.producer in builder.nodes:
            take_over(owner, node.output, result)
        else:
            replace_value(owner, node.output, result, context)
        owner.remove(node)
        context.rewrote(builder.nodes, detail=f"lowered {node.label}")
        changed = True
    return changed
