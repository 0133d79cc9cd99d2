"""What passes edit graphs with: walking, a builder for new nodes, replacing values, removing what died."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import TensorType
from ronn.mapped import give_back
from ronn.ops.infer import infer_node, merge_types
from ronn.ops.schema import schema_of
from ronn.passes.manager import PassContext

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})  # those of ONNX's own domain that hold graphs


def may_hold_graphs(node: Node) -> bool:
    """False where an operator surely has no graphs among its attributes; cheaper than to look."""
    return node.op in CONTROL_FLOW or node.domain != ""


def walk(graph: Graph, context: PassContext) -> Iterator[tuple[Graph, Node]]:
    """Every node with the graph it stands in, subgraphs behind the node that holds them. Editing is allowed.

    Nodes that are settled (``PassContext.settled``) are left out, those inside of them are not.
    """
    settled = context.settled
    for node in graph:
        place = node.outputs[0].name if node.outputs else ""
        if place not in settled:
            context.at, context.place = node, place
            yield graph, node
        if graph.is_nested(node):
            for sub in node.subgraphs():
                yield from walk(sub, context)


def graphs(graph: Graph) -> Iterator[Graph]:
    """``graph`` and every graph inside it, outer before inner."""
    yield graph
    for sub in graph.inner_graphs():
        yield from graphs(sub)


def is_pure(node: Node) -> bool:
    """Whether the outputs of ``node``, subgraphs included, depend on its inputs and attributes alone.

    An operator without a schema is not trusted.
    """
    schema = schema_of(node)
    if schema is None or not schema.pure:
        return False
    if node.op == "Dropout" and node.domain == "" and _training_dropout(node):
        return False
    if not may_hold_graphs(node):
        return True
    return all(is_pure(inner) for sub in node.subgraphs() for inner in sub)


def _training_dropout(node: Node) -> bool:
    mode = node.input(2)
    if mode is not None:
        return mode.data is None or bool(mode.data.reshape(-1)[0])
    return node.version < 7 and not node.attributes.get("is_test", 0)


def attr(node: Node, name: str, default: Any = None) -> Any:
    """The attribute, else the schema's default, else ``default``."""
    value = node.attributes.get(name)
    if value is None:
        schema = schema_of(node)
        value = None if schema is None else schema.defaults.get(name)
    return default if value is None else value


def const(value: Value | None) -> np.ndarray | None:
    """The array of a constant, else None."""
    return None if value is None else value.data


def ints(value: Value | None) -> list[int] | None:
    """The elements of a constant integer tensor, else None."""
    data = const(value)
    return None if data is None or data.dtype.kind not in "iu" else [int(x) for x in data.reshape(-1)]


def is_used(value: Value, graph: Graph) -> bool:
    return bool(value.uses) or graph.is_output(value)


class Builder:
    """Makes nodes just before ``anchor``, with inferred types and fresh names."""

    def __init__(self, graph: Graph, anchor: Node, context: PassContext) -> None:
        self.graph = graph
        self.anchor = anchor
        self.context = context
        self.version = anchor.version if anchor.domain == "" else context.opset
        self.nodes: list[Node] = []
        self.constants: list[Value] = []

    def constant(self, data: Any, stem: str = "c") -> Value:
        """A constant of the graph; plain lists of ints become int64."""
        array = np.asarray(data, dtype=np.int64) if isinstance(data, (list, tuple)) else np.asarray(data)
        value = self.graph.constant(array, self.context.fresh(self.graph, stem))
        self.constants.append(value)
        return value

    def node(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any] | None = None,
        *,
        domain: str = "",
        version: int | None = None,
        outputs: int = 1,
        stem: str | None = None,
    ) -> Node:
        """A new node. ``version`` is the anchor's opset version by default."""
        stem = self.anchor.outputs[0].name if stem is None else stem
        made = Node(
            op,
            inputs,
            [Value(self.context.fresh(self.graph, stem or op)) for _ in range(outputs)],
            attributes,
            domain=domain,
            version=self.version if version is None else version,
            name=self.anchor.name,
        )
        self.graph.insert_before(self.anchor, made)
        self.nodes.append(made)
        infer_node(made)
        return made

    def op(
        self, op: str, *inputs: Value | None, domain: str = "", version: int | None = None, **attributes: Any
    ) -> Value:
        """The first output of a new node."""
        return self.node(op, inputs, attributes, domain=domain, version=version).output

    def discard(self) -> None:
        """Takes back everything that was made."""
        for node in reversed(self.nodes):
            self.graph.remove(node)
        for value in self.constants:
            self.graph.initializers.pop(value.name, None)
        self.nodes, self.constants = [], []


def replace_value(graph: Graph, old: Value, new: Value, context: PassContext) -> Node | None:
    """Makes every user of ``old``, which a node of ``graph`` makes, use ``new``.

    A graph output is never turned into a graph input, a constant, a value from outside, or one that is an output
    already: there an Identity is put in, which is returned.
    """
    producer = old.producer
    assert producer is not None
    identity = None
    if graph.is_output(old):
        own = new.producer is not None and new.producer.graph is graph
        if not own or graph.is_output(new):
            version = producer.version if producer.domain == "" else context.opset
            out = Value(context.fresh(graph, old.name), merge_types(new.type, old.type))
            identity = Node("Identity", [new], [out], version=version, name=producer.name)
            graph.insert_before(producer, identity)
            for i, value in enumerate(graph.outputs):
                if value is old:
                    graph.outputs[i] = out
            swap_names(old, out)
        elif isinstance(new.type, TensorType) or new.type is None:
            new.type = merge_types(new.type, old.type)
    graph.replace_uses(old, new)
    if new.shape_data is None:
        new.shape_data = old.shape_data
    return identity


def swap_names(old: Value, new: Value) -> None:
    """Lets ``new`` carry the name that the model gave ``old``, so that traces and texts go on naming it."""
    old.name, new.name = new.name, old.name


def take_over(graph: Graph, old: Value, new: Value) -> None:
    """Puts ``new``, just made by a rewrite, in the place of ``old``: users, outputs, name and what was known of it."""
    new.type = merge_types(new.type, old.type)
    if new.shape_data is None:
        new.shape_data = old.shape_data
    graph.replace_uses(old, new)
    swap_names(old, new)


def remove_dead(nodes: Iterable[Node], graph: Graph) -> None:
    """Removes those of ``nodes`` that nobody uses, and what then is used no more, inside ``graph``."""
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if node.graph is not graph or any(is_used(v, graph) for v in node.outputs):
            continue
        producers = [v.producer for v in node.inputs if v is not None and v.producer is not None]
        producers += [v.producer for s in node.subgraphs() for v in s.captures() if v.producer is not None]
        graph.remove(node)
        queue += producers


def let_go(value: Value, graph: Graph) -> None:
    """Takes a constant out of ``graph`` when nobody uses it any more: old and new weights of all layers need not lie in
    memory together."""
    if graph.initializers.get(value.name) is value and not is_used(value, graph):
        del graph.initializers[value.name]
        if value.data is not None:
            give_back(value.data)
            value.data = None


def scalar(value: Value | None) -> float | int | bool | None:
    """The single element of a constant numeric tensor of any rank, else None."""
    data = const(value)
    if data is None or data.size != 1 or data.dtype.kind in "OSUc":
        return None
    found = data.reshape(-1)[0]
    return bool(found) if data.dtype.kind == "b" else int(found) if data.dtype.kind in "iu" else float(found)


def is_uniform(value: Value | None, number: float) -> bool:
    """Whether ``value`` is a constant that holds ``number`` everywhere (at least once)."""
    data = const(value)
    if data is None or data.size == 0 or data.dtype.kind in "OSUc":
        return False
    return bool(data.flat[0] == number) and bool(np.all(data == number))
