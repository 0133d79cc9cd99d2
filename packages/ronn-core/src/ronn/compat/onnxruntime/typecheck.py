"""Types that clash: models that onnxruntime refuses at load, because a node has inputs that ONNX's schemas forbid.

Only element types are followed, and only where schemas tell them: what is not known is not held against a model.
"""

from __future__ import annotations

from collections.abc import Iterator

from ronn.compat.onnxruntime.modelmeta import type_name
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops.schema import Formal, OpSchema, schema_of
from ronn.records import dataclass

_CHECKED_DOMAINS = ("", "ai.onnx.ml")
_KNOWN = frozenset(
    d.code
    for d in (
        DType.FLOAT32, DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16, DType.INT8, DType.INT16, DType.INT32, DType.INT64,
        DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64, DType.BOOL, DType.STRING,
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clash:
    """What is wrong. ``invalid``: ONNX has no such operator at all, else types of one node contradict one another."""

    message: str
    invalid: bool = False


def find_clash(graph: Graph) -> Clash | None:
    """The first node of a graph, in order, whose types cannot be."""
    return _walk(graph, {})


def _walk(graph: Graph, known: dict[Value, str]) -> Clash | None:
    for value in (*graph.inputs, *graph.initializers.values()):
        told = _told(value)
        if told is not None:
            known[value] = told
    for node in graph:
        found = _node(node, known)
        if found is None:
            inner = next((c for sub in node.subgraphs() if (c := _walk(sub, known)) is not None), None)
            if inner is not None:
                where = f"Node ({node.name}) Op ({node.op}) [TypeInferenceError] Graph attribute inferencing failed: "
                found = Clash(where + inner.message)
        if found is not None:
            return found
    return None


def _told(value: Value) -> str | None:
    """``tensor(float)``, for the tensors whose types every schema knows."""
    if isinstance(value.type, TensorType) and value.dtype is not None and value.dtype.code in _KNOWN:
        return type_name(value.type)
    return None


def _node(node: Node, known: dict[Value, str]) -> Clash | None:
    schema = schema_of(node) if node.domain in _CHECKED_DOMAINS else None
    bound: dict[str, str] = {}
    if schema is not None:
        for value, formal in _actual(node.inputs, schema.formal_input):
            found = known.get(value)
            if found is None:
                continue
            if found not in schema.types.get(formal.type, (formal.type,)):
                return Clash(
                    f"Type Error: Type '{found}' of input parameter ({value.name}) of operator ({node.op}) in node "
                    f"({node.name}) is invalid.",
                    invalid=True,
                )
            if formal.homogeneous and bound.setdefault(formal.type, found) != found:
                return Clash(
                    f"Type Error: Type parameter ({formal.type}) of Optype ({node.op}) bound to different types "
                    f"({bound[formal.type]} and {found} in node ({node.name})."
                )
    outputs = {} if schema is None else dict(_actual(node.outputs, schema.formal_output))
    for value in node.outputs:
        made = outputs.get(value)
        expected = None if made is None or schema is None else _made(node, made, schema, bound)
        declared = _told(value)
        if expected is not None and declared is not None and declared != expected:
            return Clash(
                f"Type Error: Type ({declared}) of output arg ({value.name}) of node ({node.name}) does not match "
                f"expected type ({expected})."
            )
        told = expected if expected is not None else declared
        if told is not None:
            known[value] = told
    return None


def _actual(values: tuple[Value | None, ...] | list[Value | None], formal_of: object) -> Iterator[tuple[Value, Formal]]:
    assert callable(formal_of)
    for i, value in enumerate(values):
        formal = formal_of(i)
        if value is not None and value.name and formal is not None:
            yield value, formal


def _made(node: Node, formal: Formal, schema: OpSchema, bound: dict[str, str]) -> str | None:
    """What an output is, if it can be told: by Cast's attribute, by what is bound to its type variable, or since there
    may be only one."""
    if node.op == "Cast" and isinstance(to := node.attributes.get("to"), int):
        return type_name(TensorType(DType.from_code(to), None)) if to in _KNOWN else None
    if not formal.homogeneous:
        return None
    if formal.type in bound:
        return bound[formal.type]
    only = schema.types.get(formal.type, (formal.type,))
    return only[0] if len(only) == 1 and only[0].startswith("tensor(") else None
