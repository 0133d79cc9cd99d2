"""Per-node type inference by ONNX itself, for operators that have no rule here."""

from __future__ import annotations

import onnx

from ronn.frontend.proto import array_to_proto, node_to_proto, type_to_proto
from ronn.frontend.types import read_type
from ronn.ops.infer import InferContext


def infer_by_onnx(context: InferContext) -> None:
    """Fills in what ``onnx.shape_inference.infer_node_outputs`` knows of the node."""
    node = context.node
    schema = onnx.defs.get_schema(node.op, node.version, node.domain)
    types = {v.name: type_to_proto(v.type) for v in node.inputs if v is not None and v.type is not None}
    data = {v.name: array_to_proto(v.data, v.name) for v in node.inputs if v is not None and v.data is not None}
    try:
        found = onnx.shape_inference.infer_node_outputs(schema, node_to_proto(node), types, data)
    except Exception:
        return
    for i, out in enumerate(node.outputs):
        if out.name in found:
            context.set_type(i, read_type(found[out.name]))
