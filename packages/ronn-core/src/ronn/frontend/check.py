"""Does a node fit the schema of its operator: attributes known and of the right kind, as many inputs as it may have."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.ir.graph import AttrRef, Graph, Node
from ronn.ir.types import MapType, OptionalType, SequenceType, SparseTensorType, TensorType
from ronn.ops import schema as schemas
from ronn.ops.schema import OpSchema, find_schema, max_opset

_TYPES = (TensorType, SequenceType, OptionalType, MapType, SparseTensorType)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "INT": int, "FLOAT": float, "STRING": (str, bytes), "TENSOR": np.ndarray, "SPARSE_TENSOR": np.ndarray,
    "GRAPH": Graph, "TYPE_PROTO": _TYPES,
}  # fmt: skip


def check_node(node: Node) -> str | None:
    """What is wrong with ``node``, None when nothing is, or when nobody declares its operator in ONNX's domains."""
    if node.domain and not node.domain.startswith("ai.onnx"):
        return None
    schema = find_schema(node.domain, node.op, node.version)
    if schema is None:
        return _unknown(node)
    if schema.deprecated:
        return None
    return _check_attributes(node, schema) or _check_arity(node, schema)


def is_newer(node: Node) -> bool:
    """Whether the node's opset is newer than what RONN and the installed onnx know."""
    return (node.domain == "" or node.domain.startswith("ai.onnx")) and schemas.is_newer(node.domain, node.version)


def _unknown(node: Node) -> str | None:
    # In a known opset a provider may bring the operator itself; what is missing then shows at placement.
    if is_newer(node):
        return f"operator {node.op_id} of opset {node.version} is unknown: RONN knows up to {max_opset(node.domain)}"
    return None


def _check_attributes(node: Node, schema: OpSchema) -> str | None:
    for name, value in node.attributes.items():
        kind = schema.attributes.get(name)
        if kind is None:
            if name.startswith("__"):
                continue
            known = ", ".join(sorted(schema.attributes)) or "none"
            return f"{schema.op}-{schema.since} has no attribute {name!r} (it has: {known})"
        if not fits(value, kind):
            return f"attribute {name!r} of {schema.op}-{schema.since} must be {kind}, not {kind_of(value)}"
    for name in schema.required:
        if name not in node.attributes:
            return f"attribute {name!r} of {schema.op}-{schema.since} is missing"
    return None


def fits(value: Any, kind: str) -> bool:
    """Whether ``value`` can be an attribute of the ONNX kind ``kind`` (``INT``, ``FLOATS`` ...)."""
    if isinstance(value, AttrRef):
        return True
    one = _KINDS.get(kind)
    if one is not None:
        return isinstance(value, one)
    each = _KINDS.get(kind.removesuffix("S"))
    return each is not None and isinstance(value, list) and all(isinstance(v, each) for v in value)


def kind_of(value: Any) -> str:
    """The ONNX name of the kind that ``value`` is; of an empty list, ``INTS``."""
    if isinstance(value, list):
        return kind_of(value[0]) + "S" if value else "INTS"
    for name, kind in _KINDS.items():
        if isinstance(value, kind):
            return name
    return type(value).__name__


def _check_arity(node: Node, schema: OpSchema) -> str | None:
    if not schema.min_inputs <= len(node.inputs) <= schema.max_inputs:
        return (
            f"{schema.op}-{schema.since} takes {_span(schema.min_inputs, schema.max_inputs)} inputs, "
            f"not {len(node.inputs)}"
        )
    for i, value in enumerate(node.inputs):
        formal = schema.formal_input(i)
        if value is None and formal is not None and not formal.optional and not formal.variadic:
            return f"input {i} ({formal.name}) of {schema.op}-{schema.since} is missing"
    if len(node.outputs) > len(schema.outputs) and not (schema.outputs and schema.outputs[-1].variadic):
        return f"{schema.op}-{schema.since} has {len(schema.outputs)} outputs, not {len(node.outputs)}"
    return None


def _span(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"at least {low}" if high >= 2**31 - 1 else f"{low} to {high}"
