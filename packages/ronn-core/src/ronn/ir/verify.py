"""What is legal at which stage: ``verify(graph, stage)`` checks a graph, subgraphs included, against the law book.

Stages: ``imported`` (as read from a model), ``portable`` (no provider has been asked yet: no calls of model-local
functions, no references to attributes of a call), ``assigned`` (the partition has named a provider for each node).

The laws are those that RONN's own code relies on, and no stricter than the reader of models. Deprecated operators are
legal: GroupNormalization-18 and Upsample-10 are in use, and a provider says whether it runs them. So are numbers of
other widths than an operator's schema lists (int8 for Pow, double for Celu): kernels take more types than the standard,
and later opsets widen the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from ronn.errors import InternalError, ModelError
from ronn.ir.graph import Attr, AttrRef, Graph, Node, Value
from ronn.ir.text import print_node
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType
from ronn.ops.schema import OpSchema, schema_of
from ronn.records import dataclass

Stage = Literal["imported", "portable", "assigned"]
ALL: tuple[Stage, ...] = ("imported", "portable", "assigned")
MAX_NESTING = 64


@dataclass(slots=True)
class Scope:
    """One graph under the verifier and what can be seen from it.

    ``known`` are the values of the whole graph under the verifier, ``nodes`` its nodes.
    """

    graph: Graph
    root: Graph
    visible: set[Value]
    known: Mapping[Value, object]
    nodes: Mapping[Node, Graph]
    functions: Collection[tuple[str, str, str]] = ()


# A law yields (node or None, what is wrong).
Breach = tuple[Node | None, str]
GraphLaw = Callable[[Scope], Iterator[Breach]]
NodeLaw = Callable[[Node, OpSchema | None, Scope], Iterator[Breach]]


def verify(
    graph: Graph,
    stage: Stage = "portable",
    functions: Collection[tuple[str, str, str]] = (),
    outer: Collection[Value] = (),
) -> None:
    """Checks ``graph`` against every law of ``stage``; returns when all hold.

    ``functions`` are the (domain, name, overload) of the model-local functions, ``outer`` the values of graphs around
    this one that it may use. Raises, for the first breach, ModelError when ``stage`` is ``imported`` (the model is
    wrong) and InternalError later (a pass is wrong).
    """
    error = ModelError if stage == "imported" else InternalError
    for law, (node, problem) in _breaches(graph, stage, functions, outer):
        line = "" if node is None else f"  line     {print_node(node)}"
        raise error(f"{stage} graph {graph.name!r} breaks the law {law!r}: {problem}", node=node, detail=line)


def _breaches(
    root: Graph, stage: Stage, functions: Collection[tuple[str, str, str]], outer: Collection[Value]
) -> Iterator[tuple[str, Breach]]:
    known: dict[Value, object] = {}
    nodes: dict[Node, Graph] = {}
    for breach in _collect(root, known, nodes, 0):
        yield "made-once", breach
    graph_laws = [(name, check) for name, stages, check in GRAPH_LAWS if stage in stages]
    node_laws = [(name, check) for name, stages, check in NODE_LAWS if stage in stages]

    def walk(graph: Graph, outside: set[Value]) -> Iterator[tuple[str, Breach]]:
        visible = outside | set(graph.inputs) | set(graph.initializers.values())
        scope = Scope(graph, root, visible, known, nodes, functions)
        for node in graph:
            schema = schema_of(node)
            for name, check in node_laws:
                for breach in check(node, schema, scope):
                    yield name, breach
            for sub in node.subgraphs():
                yield from walk(sub, visible)
            visible.update(node.outputs)
        for name, law in graph_laws:
            for breach in law(scope):
                yield name, breach

    yield from walk(root, set(outer))


def _collect(graph: Graph, known: dict[Value, object], nodes: dict[Node, Graph], depth: int) -> Iterator[Breach]:
    """Fills ``known`` with value -> its maker and ``nodes`` with node -> its graph; yields what is made twice."""
    if depth > MAX_NESTING:
        yield None, f"graphs are nested more than {MAX_NESTING} deep"
        return
    for value in graph.inputs:
        if value in known:
            yield None, f"input %{value.name} of graph {graph.name!r} is listed or made twice"
        known[value] = graph
    for value in graph.initializers.values():
        if known.get(value, graph) is not graph:
            yield None, f"constant %{value.name} of graph {graph.name!r} is made twice"
        known[value] = graph
    for node in graph:
        nodes[node] = graph
        for value in node.outputs:
            if value in known:
                yield node, f"%{value.name} is made twice"
            known[value] = node
        for sub in node.subgraphs():
            yield from _collect(sub, known, nodes, depth + 1)


# --- laws about graphs


def _unique_names(scope: Scope) -> Iterator[Breach]:
    seen: dict[str, Value] = {}
    for value in scope.graph.values():
        if value.name and seen.setdefault(value.name, value) is not value:
            yield value.producer, f"two values of graph {scope.graph.name!r} are called %{value.name}"


def _outputs_exist(scope: Scope) -> Iterator[Breach]:
    graph = scope.graph
    if len(graph.outputs) != len(graph.output_names):
        yield None, f"{len(graph.outputs)} outputs but {len(graph.output_names)} output names"
    for value in graph.outputs:
        if value not in scope.visible or not value.name:
            yield value.producer, f"output %{value.name} of graph {graph.name!r} is not made in it or around it"


def _constants(scope: Scope) -> Iterator[Breach]:
    for name, value in scope.graph.initializers.items():
        if value.data is None:
            yield None, f"constant %{name} has no data"
        elif value.name != name:
            yield None, f"constant %{value.name} is filed under the name {name!r}"
        elif value.producer is not None:
            yield value.producer, f"constant %{name} has a producer"
        elif isinstance(value.type, TensorType):
            actual = TensorType(DType.of(value.data.dtype), value.data.shape)
            if not _fits(actual, value.type):
                yield None, f"constant %{name} is {actual}, declared {value.type}"


def _fits(actual: TensorType, declared: TensorType) -> bool:
    if declared.dtype not in (None, actual.dtype):
        return False
    if declared.shape is None or actual.shape is None:
        return True
    return len(declared.shape) == len(actual.shape) and all(
        d == a or not isinstance(d, int) for d, a in zip(declared.shape, actual.shape, strict=True)
    )


def _order_links(scope: Scope) -> Iterator[Breach]:
    forward = list(scope.graph)
    if len(forward) != len(scope.graph) or forward[::-1] != list(reversed(scope.graph)):
        yield None, f"the node list of graph {scope.graph.name!r} is broken"


def _input_uses(scope: Scope) -> Iterator[Breach]:
    for value in (*scope.graph.inputs, *scope.graph.initializers.values()):
        yield from _stale_uses(value, None, scope)


def _stale_uses(value: Value, maker: Node | None, scope: Scope) -> Iterator[Breach]:
    for user, index in value.uses:
        if user not in scope.nodes:
            yield maker, f"%{value.name} is used by {user!r}, which does not stand in the graph"
        elif user.input(index) is not value:
            yield user, f"%{value.name} claims to be input {index} of this node"


# --- laws about nodes


def _defined_first(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    for value in node.inputs:
        if value is not None and value not in scope.visible:
            why = "is used before it is made, or out of its scope" if value in scope.known else "is never made"
            yield node, f"%{value.name} {why}"


def _use_links(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    for index, value in enumerate(node.inputs):
        if value is not None and (node, index) not in value.uses:
            yield node, f"%{value.name} does not know of its use as input {index}"
    for value in node.outputs:
        yield from _stale_uses(value, node, scope)


def _node_links(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if node.graph is not scope.graph:
        yield node, "the node does not know the graph that it stands in"
    for value in node.outputs:
        if value.producer is not node:
            yield node, f"%{value.name} has another producer: {value.producer!r}"


def _arity(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if schema is None or schema.deprecated:
        return
    given = len(node.inputs)
    if not schema.min_inputs <= given <= schema.max_inputs:
        most = "" if schema.max_inputs > 2**30 else f" to {schema.max_inputs}"
        yield node, f"{node.op_id} takes {schema.min_inputs}{most} inputs, not {given}"
    for index, value in enumerate(node.inputs):
        formal = schema.formal_input(index)
        if value is None and formal is not None and not formal.optional and index < schema.min_inputs:
            yield node, f"input {index} ({formal.name}) of {node.op_id} must be given"
    if not node.outputs and schema.outputs:
        yield node, f"{node.op_id} needs an output"
    if len(node.outputs) > len(schema.outputs) and not (schema.outputs and schema.outputs[-1].variadic):
        yield node, f"{node.op_id} has at most {len(schema.outputs)} outputs, not {len(node.outputs)}"


def _required_attributes(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if schema is not None and not schema.deprecated:
        for name in sorted(schema.required - node.attributes.keys()):
            yield node, f"{node.op_id} needs the attribute {name!r}"


def _known_attributes(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if schema is None or schema.deprecated or node.domain not in _STRICT_DOMAINS:
        return
    for name in sorted(node.attributes.keys() - schema.attributes.keys()):
        if name.startswith("__"):
            continue
        listed = ", ".join(sorted(schema.attributes)) or "none"
        yield node, f"{node.op_id} (opset {schema.since}) has no attribute {name!r}; it has {listed}"


# Domains whose schemas are complete; those of other domains may know more attributes than RONN does.
_STRICT_DOMAINS = ("", "ai.onnx.ml", "ai.onnx.preview.training")


def _attribute_types(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if schema is None:
        return
    for name, attr in node.attributes.items():
        kind = schema.attributes.get(name)
        if kind is not None and not isinstance(attr, AttrRef) and not _attr_is(attr, kind):
            yield node, f"attribute {name!r} must be {kind}, not {_kind_text(attr)}"


_TYPE = (TensorType, SequenceType, OptionalType, MapType, SparseTensorType)
_KINDS: dict[str, tuple[type, ...]] = {
    "INT": (int, np.integer), "FLOAT": (float, np.floating), "STRING": (str, bytes), "TENSOR": (np.ndarray,),
    "SPARSE_TENSOR": (np.ndarray,), "GRAPH": (Graph,), "TYPE_PROTO": _TYPE,
}  # fmt: skip


def _attr_is(attr: Attr, kind: str) -> bool:
    wanted = _KINDS.get(kind)
    if wanted is not None:
        return isinstance(attr, wanted)
    element = _KINDS.get(kind.removesuffix("S"))
    return element is None or (isinstance(attr, list | tuple) and all(isinstance(a, element) for a in attr))


def _kind_text(attr: Any) -> str:
    if isinstance(attr, list | tuple):
        return f"a list of {', '.join(sorted({type(a).__name__ for a in attr})) or 'nothing'}"
    return type(attr).__name__


def _input_types(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    """Types that are certain (of graph inputs and constants) must be of a kind that the operator takes, and equal where
    the operator wants equal ones."""
    if schema is None or schema.deprecated:
        return
    bound: dict[str, tuple[str, Value]] = {}
    for index, value in enumerate(node.inputs):
        formal = schema.formal_input(index)
        if value is None or formal is None or value.producer is not None or value.dtype is None:
            continue
        text = f"tensor({value.dtype.onnx_name})"
        allowed = schema.types.get(formal.type)
        if allowed is None and "(" in formal.type:
            allowed = (formal.type,)
        if allowed is None:
            continue
        if text not in allowed and _kind(value.dtype) not in map(_kind_of_type, allowed):
            yield node, f"input {index} ({formal.name}) of {node.op_id} (opset {schema.since}) cannot be {text}"
        elif formal.homogeneous:
            other, holder = bound.setdefault(formal.type, (text, value))
            if other != text:
                yield node, f"%{holder.name} is {other} and %{value.name} is {text}, but both stand for {formal.type}"


def _kind(dtype: DType) -> str:
    return "float" if dtype.is_float else "integer" if dtype.is_integer else dtype.short


def _kind_of_type(text: str) -> str:
    """That of ``tensor(float)``; empty for what is no tensor."""
    name = text.removeprefix("tensor(").removesuffix(")")
    try:
        return _kind(DType.from_name(name)) if text.startswith("tensor(") else ""
    except KeyError:
        return ""


def _no_calls(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if (node.domain, node.op, node.overload) in scope.functions:
        yield node, f"{node.op_id} is a model-local function: calls should have been inlined"


def _no_attribute_references(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    for name, attr in node.attributes.items():
        if isinstance(attr, AttrRef):
            yield node, f"attribute {name!r} still refers to {attr.name!r} of a function call"


def _provider_set(node: Node, schema: OpSchema | None, scope: Scope) -> Iterator[Breach]:
    if scope.graph is scope.root and not node.provider:
        yield node, "no provider is assigned"


LATER: tuple[Stage, ...] = ("portable", "assigned")
ASSIGNED: tuple[Stage, ...] = ("assigned",)
IMPORTED: tuple[Stage, ...] = ("imported",)

NODE_LAWS: list[tuple[str, tuple[Stage, ...], NodeLaw]] = [
    ("defined-first", ALL, _defined_first),
    ("use-links", ALL, _use_links),
    ("node-links", ALL, _node_links),
    ("arity", ALL, _arity),
    ("required-attributes", ALL, _required_attributes),
    ("known-attributes", ALL, _known_attributes),
    ("attribute-types", ALL, _attribute_types),
    ("input-types", IMPORTED, _input_types),
    ("no-calls", LATER, _no_calls),
    ("no-attribute-references", LATER, _no_attribute_references),
    ("provider-set", ASSIGNED, _provider_set),
]
GRAPH_LAWS: list[tuple[str, tuple[Stage, ...], GraphLaw]] = [
    ("unique-names", ALL, _unique_names),
    ("outputs-exist", ALL, _outputs_exist),
    ("constants", ALL, _constants),
    ("order-links", ALL, _order_links),
    ("input-uses", ALL, _input_uses),
]
