"""Whether requests may be joined: a proof, node by node, that the rows of a batch do not touch each other.

That every input and output has a dim called ``batch`` does not say so: a mean over it, or one quantisation scale for
the whole tensor, keeps the shape and mixes the rows. So one dim is followed through the graph. A value is either

- *rows*: along one axis the requests lie one behind the other, and each part is computed from its own request alone,
- *shared*: the same whatever the batch is, or
- *size*: computed from the number of rows only (``Shape`` and arithmetic on it).

``rules.py`` says for each operator what comes out. An operator without a rule, or one that mixes rows, ends the proof;
the reason names the node.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

from ronn.ir.dims import Dim, Fn, Sym
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import SequenceType, TensorType
from ronn.ops.infer import InferContext
from ronn.ops.schema import schema_of
from ronn.records import dataclass


class Kind(enum.Enum):
    """What a value without rows is."""

    SHARED = "shared"
    SIZE = "size"


class MixesRows(Exception):
    """The requests of a batch cannot be told apart behind a node."""

    def __init__(self, reason: str, node: Node | None = None) -> None:
        super().__init__(reason if node is None else f"{node.op_id} {node.label!r}: {reason}")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Rows along ``axis`` that hold their own number, as ``Range`` over the batch gives; it is not the same in a batch
    as alone, and good for nothing but to pick what belongs to the row. ``tuples``: the last dim holds tuples that begin
    with the number, as ``GatherND`` takes them."""

    axis: int
    tuples: bool = False


State = int | Kind | Numbers | MixesRows
"""The axis of the rows, what a value without rows is, or why nothing can be said of it."""

RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
)


def counts_rows(dim: Dim | None, batch: str) -> bool:
    """Whether ``dim`` is the number of rows times something that does not depend on it."""
    return isinstance(dim, Sym) and all(
        sum(a == batch for a in mono) == 1 and not any(isinstance(a, Fn) and _mentions(a, batch) for a in mono)
        for mono, _ in dim.terms
    )


def mentions(dim: Dim | None, batch: str) -> bool:
    """Whether ``dim`` depends on the number of rows in any way."""
    return isinstance(dim, Sym) and batch in dim.names()


def _mentions(fn: Fn, batch: str) -> bool:
    return any(mentions(a, batch) for a in fn.args)


class RowContext(InferContext):
    """What a rule sees of one node: its types and constants, and the states of its inputs."""

    __slots__ = ("batch", "states")

    def __init__(self, node: Node, states: Mapping[Value, State], batch: str) -> None:
        super().__init__(node, schema_of(node))
        self.states = states
        self.batch = batch

    def found(self, index: int) -> State:
        """What was found of an input; an omitted one is shared."""
        value = self.node.input(index)
        return Kind.SHARED if value is None else self.states[value]

    def state(self, index: int) -> int | Kind:
        """The state of an input. MixesRows for numbers of rows."""
        found = self.found(index)
        if isinstance(found, (Numbers, MixesRows)):
            raise self.refuse(f"it computes with the numbers of rows in input {index}")
        return found

    def axis(self, index: int) -> int | None:
        """The axis of an input's rows; None when it is shared. MixesRows when it is computed from the batch size."""
        found = self.state(index)
        if found is Kind.SIZE:
            raise self.refuse(f"input {index} is computed from the number of rows")
        return None if isinstance(found, Kind) else found

    def shared(self, *indexes: int) -> None:
        """MixesRows unless these inputs are the same whatever the batch is."""
        for index in indexes:
            if self.state(index) is not Kind.SHARED:
                raise self.refuse(f"input {index} differs from request to request")

    def known_rank(self, index: int) -> int:
        rank = self.rank(index)
        if rank is None:
            raise self.refuse(f"nothing is known of the shape of input {index}")
        return rank

    def out_shape(self, index: int = 0) -> tuple[Dim | None, ...]:
        shape = self.node.outputs[index].tensor.shape
        if shape is None:
            raise self.refuse("nothing is known of the shape of its output")
        return shape

    def sized(self) -> None:
        """MixesRows when a size of the output that is not known may depend on the number of rows."""
        sizes = any(self.state(i) is Kind.SIZE for i in range(len(self.node.inputs)))
        if sizes and None in self.out_shape():
            raise self.refuse(f"the size of its output {self.node.outputs[0].type} may depend on the number of rows")

    def rows_of_output(self, index: int = 0, unknown: int = 0) -> int:
        """The axis of the one dim of an output that counts rows; of the others so many may be unknown."""
        shape = self.out_shape(index)
        found = [i for i, d in enumerate(shape) if mentions(d, self.batch)]
        if len(found) != 1 or shape.count(None) > unknown or not counts_rows(shape[found[0]], self.batch):
            raise self.refuse(f"rows cannot be found in its output {self.node.outputs[index].type}")
        return found[0]

    def refuse(self, reason: str) -> MixesRows:
        return MixesRows(reason, self.node)


RowRule = Callable[[RowContext], "State | list[State]"]
"""Gives the states of the outputs (one for all of them, or a list). Called when an input is not shared."""


def follow(graph: Graph, inputs: Mapping[str, int], batch: str) -> list[State]:
    """The states of the outputs of a typed graph, where ``inputs`` have their rows along these axes and ``batch`` is
    the dim that counts them. MixesRows, with the reason, where the proof fails."""
    states: dict[Value, State] = dict.fromkeys(graph.values(), Kind.SHARED)
    for value in graph.inputs:
        if value.name in inputs:
            states[value] = inputs[value.name]
    _walk(graph, states, batch)
    out = [states[v] for v in graph.outputs]
    for name, state in zip(graph.output_names, out, strict=True):
        if isinstance(state, MixesRows):
            raise state
        if state is Kind.SIZE or isinstance(state, Numbers):
            raise MixesRows(f"output {name!r} is computed from the number of rows")
    return out


def _walk(graph: Graph, states: dict[Value, State], batch: str) -> None:
    for node in graph:
        found: Sequence[State]
        try:
            found = _follow_node(node, states, batch)
            for value, state in zip(node.outputs, found, strict=True):
                axis = state.axis if isinstance(state, Numbers) else state
                if isinstance(axis, int) and (value.uses or graph.is_output(value)):
                    _check_rows(value, axis, node, batch)
        except MixesRows as e:
            found = [e] * len(node.outputs)  # matters if something but its shape is used
        states.update(zip(node.outputs, found, strict=True))


def _branches(node: Node, states: dict[Value, State], batch: str) -> list[State]:
    """The states of what an If gives whose condition is the same for all requests."""
    found: list[list[State]] = []
    for graph in node.subgraphs():
        states.update((v, Kind.SHARED) for v in graph.initializers.values())
        _walk(graph, states, batch)
        found.append([states[v] for v in graph.outputs])
    if any(f != found[0] for f in found):
        raise MixesRows("its branches give rows along different axes", node)
    return found[0]


def _follow_node(node: Node, states: dict[Value, State], batch: str) -> list[State]:
    from ronn.batching.rules import rule_of

    seen = [v for v in node.inputs if v is not None] + [v for g in node.subgraphs() for v in g.captures()]
    kinds = {states.get(v, Kind.SHARED) for v in seen}
    if kinds <= {Kind.SHARED}:
        return [Kind.SHARED] * len(node.outputs)
    if next(node.subgraphs(), None) is not None:
        condition = node.input(0)
        if node.op == "If" and not node.domain and condition is not None and states[condition] is Kind.SHARED:
            return _branches(node, states, batch)
        raise MixesRows("its branches or body depend on the batch", node)
    if node.op in RANDOM and not node.domain:
        raise MixesRows("random numbers", node)
    mixed = next((k for k in kinds if isinstance(k, MixesRows)), None)
    if mixed is not None and (node.domain or node.op not in ("Shape", "Size")):
        raise mixed
    context = RowContext(node, states, batch)
    if kinds <= {Kind.SHARED, Kind.SIZE} and not any(_has_rows(v, batch) for v in node.outputs):
        return [of_size(v, batch) for v in node.outputs]
    rule = rule_of(node.domain, node.op)
    if rule is None:
        raise MixesRows("nothing is known of how it treats the rows of a batch", node)
    found = rule(context)
    return found if isinstance(found, list) else [found] * len(node.outputs)


def of_size(value: Value, batch: str) -> Kind:
    """What is computed from the shape of a batch is shared where it is about other dims than that of the rows."""
    known = value.shape_data
    if known is not None and None not in known and not any(mentions(d, batch) for d in known):
        return Kind.SHARED
    return Kind.SIZE


def _has_rows(value: Value, batch: str) -> bool:
    shape = value.tensor.shape
    return shape is None or any(d is None or mentions(d, batch) for d in shape)


def _check_rows(value: Value, axis: int, node: Node, batch: str) -> None:
    """What a rule says must agree with the shape that inference found."""
    if isinstance(value.type, SequenceType):
        return  # of one map for each row: see ZipMap
    shape = value.type.shape if isinstance(value.type, TensorType) else None
    if shape is None or axis >= len(shape) or not counts_rows(shape[axis], batch):
        raise MixesRows(f"the rows of its output {value.type} cannot be counted", node)
    if any(mentions(d, batch) for i, d in enumerate(shape) if i != axis):
        raise MixesRows(f"its output {value.type} has the number of rows in two dims", node)
