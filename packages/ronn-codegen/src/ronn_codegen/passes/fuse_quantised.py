"""``DequantizeLinear -> op -> QuantizeLinear`` as one integer operator of ONNX or ``com.microsoft``, layout as it is.

What follows a quantised tensor is read by ``_quantised``; a device that has the integer operator gets it, so that no
float tensor stands between two products of bytes.
"""

from __future__ import annotations

from ronn.ir.graph import Graph
from ronn.passes.edit import Builder, graphs, remove_dead, take_over
from ronn.passes.manager import PassContext, define_pass
from ronn_codegen.passes._quantised import Reading, Real, Record
from ronn_codegen.passes._quantised_nodes import INTEGERS, clamped


@define_pass("fuse-quantised", requires_types=True)
def fuse_quantised(graph: Graph, context: PassContext) -> bool:
    """Run operators between quantised tensors on bytes."""
    changed = False
    for g in graphs(graph):
        reading = Reading.of(g)
        for record in reading.records:
            if not context.may_rewrite():
                break
            if record.nodes[-1].op == "QuantizeLinear" and record.kind in INTEGERS:
                changed = _fuse(g, context, reading, record) or changed
    return changed


def _fuse(graph: Graph, context: PassContext, reading: Reading, record: Record) -> bool:
    context.at = record.op
    b = Builder(graph, record.nodes[-1], context)
    value = INTEGERS[record.kind](b, record)
    if value is not None:
        value = clamped(b, record, value)
    if value is None or not all(context.owns(n) for n in b.nodes):
        b.discard()
        return False
    context.rewrote(b.nodes, detail=record.op.label)
    take_over(graph, record.out, value)
    for user in reading.records:
        if any(i.value is record.out for i in user.ins):
            user.ins = [Real(value, i.scale) if i.value is record.out else i for i in user.ins]
    remove_dead([record.nodes[-1]], graph)
    return True
