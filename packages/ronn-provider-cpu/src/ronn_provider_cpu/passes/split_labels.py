"""Classifiers with strings as labels, which native kernels do not take: they find numbers, and a Gather the strings."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node
from ronn.passes.edit import Builder, is_used, remove_dead, take_over, walk
from ronn.passes.manager import PassContext, define_pass

ML = "ai.onnx.ml"
_INTEGERS = {
    "LinearClassifier": "classlabels_ints",
    "SVMClassifier": "classlabels_ints",
    "TreeEnsembleClassifier": "classlabels_int64s",
}


@define_pass("split-labels", requires_types=True, keeps_types=True)
def split_labels(graph: Graph, context: PassContext) -> bool:
    """Lets a classifier number its classes and looks its string labels up behind it."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        if node.domain == ML and node.op in _INTEGERS and len(node.attributes.get("classlabels_strings") or ()) > 1:
            _split(owner, node, context)
            changed = True
    return changed


def _split(graph: Graph, node: Node, context: PassContext) -> None:
    labels = [str(s) for s in node.attributes["classlabels_strings"]]
    attributes = {k: v for k, v in node.attributes.items() if k != "classlabels_strings"}
    attributes[_INTEGERS[node.op]] = list(range(len(labels)))
    b = Builder(graph, node, context)
    made = b.node(node.op, node.inputs, attributes, domain=ML, version=node.version, outputs=2)
    label, scores = node.outputs
    if is_used(label, graph):
        strings = np.empty(len(labels), object)
        strings[:] = labels
        take_over(graph, label, b.op("Gather", b.constant(strings, "labels"), made.outputs[0], axis=0))
    if is_used(scores, graph):
        take_over(graph, scores, made.outputs[1])
    context.rewrote(b.nodes, detail=node.label)
    remove_dead([node], graph)
