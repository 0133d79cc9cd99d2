"""Constants that no operator took in their quantised form become float32."""

from __future__ import annotations

from ronn.ir.graph import Graph
from ronn.passes.edit import graphs, remove_dead, replace_value
from ronn.passes.manager import PassContext, define_pass
from ronn_codegen.passes._quantised import dequantised


@define_pass("fold-dequantised", requires_types=True, keeps_types=True, late=True)
def fold_dequantised(graph: Graph, context: PassContext) -> bool:
    """Dequantise constants once, instead of in every run."""
    changed = False
    for g in graphs(graph):
        for node in g:
            if node.op != "DequantizeLinear" or not context.may_rewrite():
                continue
            context.at = node
            found = dequantised(node.output)
            if found is None or found.data is None:
                continue
            constant = g.constant(found.data, context.fresh(g, node.output.name))
            replace_value(g, node.output, constant, context)
            remove_dead([node], g)
            context.rewrote([], detail=node.label)
            changed = True
    return changed
