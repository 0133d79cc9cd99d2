"""Expands operators that no provider takes: into ONNX's own function bodies, or into bodies that were registered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ronn.errors import ModelError
from ronn.ir.graph import Function, Graph, Node, Value
from ronn.ir.types import TensorType
from ronn.ops.infer import infer_node
from ronn.ops.schema import max_opset, schema_of
from ronn.passes.edit import Builder, is_pure, remove_dead, walk
from ronn.passes.manager import PassContext, define_pass
from ronn.passes.splice import replace_node, splice

if TYPE_CHECKING:
    import onnx

MAX_DEPTH = 8
Body = Callable[[Builder, Node], Sequence[Value] | None]
_bodies: dict[tuple[str, str], Body] = {}


def register_body(domain: str, op: str) -> Callable[[Body], Body]:
    """Declares what an operator of another domain than ONNX's stands for: ``body(builder, node)`` builds it and returns
    the values of the outputs, or None where it cannot say. It is used for nodes that no provider takes."""

    def register(body: Body) -> Body:
        _bodies[(domain, op)] = body
        return body

    return register


def registered_body(node: Node) -> Body | None:
    """The body that was registered for the operator of a node."""
    return _bodies.get((node.domain, node.op))


_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})  # the plan runs these itself


@define_pass("expand-functions", requires_types=True, required=True)
def expand_functions(graph: Graph, context: PassContext) -> bool:
    """Expands composite operators that nobody claims, when providers take every operator of the body."""
    if context.claimed is None:
        return False
    changed = False
    for owner, node in walk(graph, context):
        if node.op in _CONTROL_FLOW and node.domain == "":
            continue
        body = registered_body(node)
        if body is not None:
            if not context.takes(node) and _build(owner, node, body, context):
                changed = True
        elif _may_expand(node) and not context.takes(node):
            made = _expand(owner, node, context, 0)
            if made is not None:
                context.rewrote(made, detail=f"expanded {node.label}")
                changed = True
    return changed


def _build(graph: Graph, node: Node, body: Body, context: PassContext) -> bool:
    builder = Builder(graph, node, context)
    outputs = body(builder, node)
    if outputs is None:
        builder.discard()
        return False
    context.rewrote(replace_node(graph, node, builder.nodes, outputs, context), detail=f"expanded {node.label}")
    return True


def _may_expand(node: Node) -> bool:
    # Bodies are asked for without graphs among the attributes: one that has such is left to providers.
    plain = node.domain in ("", "ai.onnx.preview") and next(node.subgraphs(), None) is None
    return plain and bool(_versions(node))


def _versions(node: Node) -> tuple[int, ...]:
    schema = schema_of(node)
    return () if schema is None else schema.functions


def _expand(graph: Graph, node: Node, context: PassContext, depth: int) -> list[Node] | None:
    """Replaces ``node`` by its body if providers take all of it. Otherwise nothing changes and the answer is None."""
    function = function_body(node)
    if function is None or depth > MAX_DEPTH:
        return None
    attributes = {**function.attributes, **node.attributes}
    nodes, outputs = splice(graph, node, function.body, node.inputs, context, attributes)
    made: list[Node] = []
    for inner in nodes:
        if inner.graph is None:
            continue
        if not _runs(graph, inner, context, made, depth):
            _undo(graph, node, [*made, *nodes])
            context.refuse(node, f"no provider takes {inner.op_id} of its function body")
            return None
    return replace_node(graph, node, [n for n in made if n.graph is graph], outputs, context)


def _runs(graph: Graph, inner: Node, context: PassContext, made: list[Node], depth: int) -> bool:
    """Whether a node of a body can be run; expands it in turn where it must be."""
    try:
        infer_node(inner)
    except ModelError:
        return False
    if inner.op in _CONTROL_FLOW and inner.domain == "":
        made.append(inner)
        return all(_runs(sub, n, context, [], depth) for sub in inner.subgraphs() for n in list(sub))
    # Constants are folded before anything is placed.
    if inner.op in ("Constant", "Identity") or context.takes(inner) or _constant(inner):
        made.append(inner)
        return True
    if not _may_expand(inner):
        return False
    more = _expand(graph, inner, context, depth + 1)
    if more is None:
        return False
    made += more
    return True


def _constant(node: Node) -> bool:
    """Whether a node of a body hangs on constants alone (the folding pass then removes it)."""
    todo, seen = [node], {node}
    while todo:
        one = todo.pop()
        if not is_pure(one):
            return False
        for value in one.inputs:
            if value is None or value.data is not None:
                continue
            if value.producer is None:
                return False
            if value.producer not in seen:
                seen.add(value.producer)
                todo.append(value.producer)
    return True


def _undo(graph: Graph, node: Node, made: list[Node]) -> None:
    remove_dead([n for n in made if n.graph is graph], graph)


def function_body(node: Node) -> Function | None:
    """ONNX's function body of a node, for its own opset where there is one; None when it has none for its types."""
    import onnx

    schema, versions = schema_of(node), _versions(node)
    if schema is None or not versions:
        return None
    raw = onnx.defs.get_schema(node.op, schema.since, node.domain)
    fitting = [v for v in versions if v <= node.version]
    version = max(fitting) if fitting else min(versions)
    try:
        if raw.has_function:
            text = raw.get_function_with_opset_version(version)
        else:
            types = [_type_bytes(v.type) if v is not None else b"" for v in node.inputs]
            if any(t is None for t in types):
                return None
            call = _node_proto(node)
            text = raw.get_context_dependent_function_with_opset_version(version, call, types)
    except (RuntimeError, TypeError, ValueError):
        return None
    proto = onnx.FunctionProto()
    proto.ParseFromString(text if isinstance(text, bytes) else text.SerializeToString())
    if not proto.node:
        return None
    return _read(proto, node)


def _read(proto: onnx.FunctionProto, node: Node) -> Function:
    from ronn.frontend.external import ExternalData
    from ronn.frontend.graphs import GraphReader
    from ronn.frontend.tensors import TensorReader

    # A body that was made for this call lacks what only the outputs need that the call leaves out.
    known_names = {*proto.input, *(name for n in proto.node for name in n.output)}
    for index, name in enumerate(proto.output):
        asked = index < len(node.outputs) and node.outputs[index].name
        if name not in known_names and not asked:
            proto.output[index] = next(n for n in proto.output if n in known_names)
    reader = GraphReader(f"function body of {node.op_id}", TensorReader(ExternalData(None)), 10)
    imports = {("" if i.domain == "ai.onnx" else i.domain): i.version for i in proto.opset_import}
    imports.setdefault("", max_opset(""))  # bodies of ai.onnx.preview leave it out
    # The body refers to attributes by name; those that neither the call nor the schema gives are dropped.
    known = set(proto.attribute) | {a.name for a in proto.attribute_proto}
    schema = schema_of(node)
    function = reader.function(proto, imports)
    if schema is not None:
        for name in known:
            if function.attributes.get(name) is None:
                function.attributes[name] = schema.defaults.get(name)
    return function


def _type_bytes(type: object) -> bytes | None:
    import onnx

    if not isinstance(type, TensorType) or type.dtype is None:
        return None
    shape = None if type.shape is None else [d if d is None or isinstance(d, int) else str(d) for d in type.shape]
    made: bytes = onnx.helper.make_tensor_type_proto(type.dtype.code, shape).SerializeToString()
    return made


def _node_proto(node: Node) -> bytes:
    import onnx

    call = onnx.helper.make_node(
        node.op,
        ["" if v is None else v.name for v in node.inputs],
        [v.name for v in node.outputs],
        domain=node.domain,
        name=node.name,
    )
    for name, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            value = onnx.numpy_helper.from_array(value)
        if not isinstance(value, Graph):
            call.attribute.append(onnx.helper.make_attribute(name, value))
    text: bytes = call.SerializeToString()
    return text
