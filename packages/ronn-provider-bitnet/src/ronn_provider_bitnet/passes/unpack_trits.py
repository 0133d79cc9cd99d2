"""Weights of five trits in a byte, as integers that the passes behind this one know."""

from __future__ import annotations

import ronn_provider_bitnet.ops  # noqa: F401  # declares Trits
from ronn.ir.graph import Graph
from ronn.passes.edit import const, graphs, replace_value
from ronn.passes.manager import PassContext, define_pass
from ronn_provider_bitnet.numpy_kernels.trits import from_trits
from ronn_provider_bitnet.ops import DOMAIN


@define_pass("unpack-trits", requires_types=True, keeps_types=True)
def unpack_trits(graph: Graph, context: PassContext) -> bool:
    """Makes int8 constants of the weights that a file keeps as five ternary digits in a byte."""
    changed = False
    for g in graphs(graph):
        for node in g:
            packed = const(node.input(0)) if node.op == "Trits" and node.domain == DOMAIN else None
            if packed is None or not context.may_rewrite():
                continue
            context.at = node
            value = g.constant(from_trits(packed, node.attributes["shape"]), context.fresh(g, node.output.name))
            made = replace_value(g, node.output, value, context)
            g.remove(node)
            context.rewrote([] if made is None else [made], detail=f"unpacked {node.label}")
            changed = True
    return changed
