"""If, Loop, Scan and SequenceMap: types through subgraphs.

What a loop carries gets a type that holds at every iteration: the walk over the body is repeated, with every dim
that the body changes made unknown, until nothing changes any more.
"""

from __future__ import annotations

from collections.abc import Sequence

from ronn.errors import ModelError
from ronn.ir.dims import Dim
from ronn.ir.graph import Graph, Value
from ronn.ir.types import DType, SequenceType, TensorType, Type
from ronn.ops.infer import InferContext, infer_node, rule, shape_data
from ronn.ops.rules.common import axis_of, element_of, join_types

MAX_ROUNDS = 8  # each round makes at least one dim, dtype or rank unknown


def _reset(graph: Graph) -> None:
    """Forgets what inference found out about the values of a body, and the shapes that its file declares."""
    for node in graph:
        for out in node.outputs:
            if isinstance(out.type, TensorType):
                out.type = TensorType(out.type.dtype, None)
            out.shape_data = None
        for sub in node.subgraphs():
            _reset(sub)


def _infer_body(graph: Graph, inputs: Sequence[Type | None]) -> list[Type | None]:
    """The output types of a body whose inputs have these types."""
    for value, given in zip(graph.inputs, inputs, strict=True):
        value.type = given if given is not None else value.type
        value.shape_data = None
    _reset(graph)
    for node in graph:
        infer_node(node)
    return [v.type for v in graph.outputs]


def _body(c: InferContext, name: str, inputs: int | None = None, outputs: int | None = None) -> Graph:
    body = c.node.attributes.get(name)
    if not isinstance(body, Graph):
        raise c.fail(f"attribute {name!r} is no graph")
    if inputs is not None and len(body.inputs) != inputs:
        raise c.fail(f"the body takes {len(body.inputs)} inputs, the node gives {inputs}")
    if outputs is not None and len(body.outputs) != outputs:
        raise c.fail(f"the body returns {len(body.outputs)} values, the node needs {outputs}")
    return body


def _shifted(old: Type | None, new: Type | None) -> Type | None:
    """The type of a carried value that came in as ``old`` and goes out as ``new``."""
    if old is None or new is None:
        return new if old is None else old
    joined = join_types(old, new)
    if isinstance(joined, TensorType) and joined.dtype is None and isinstance(old, TensorType):
        return TensorType(old.dtype, joined.shape)  # the dtype of what is carried cannot change
    return joined


@rule("If")
def if_(c: InferContext) -> None:
    count = len(c.node.outputs)
    found: list[list[Type | None]] = []
    data: list[list[Value]] = []
    for name in ("then_branch", "else_branch"):
        branch = _body(c, name, 0, count)
        try:
            types = _infer_body(branch, [])
        except ModelError:
            # Only the branch that is taken must be right: with the sizes of this run the other one may be impossible.
            types = [None] * count
            _reset(branch)
        found.append(types)
        data.append(branch.outputs)
    known = c.dims(0)
    chosen = known[0] if known is not None and len(known) == 1 else None
    if isinstance(chosen, int):
        pick = 0 if chosen else 1
        for i in range(count):
            c.set_type(i, found[pick][i])
            elements = data[pick][i].shape_data
            if elements is not None:
                c.set_dims(i, elements)
        return
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        c.set_type(i, join_types(a, b))


@rule("Loop")
def loop(c: InferContext) -> None:
    carried = len(c.node.inputs) - 2
    body = _body(c, "body", carried + 2, len(c.node.outputs) + 1)
    count, condition = TensorType(DType.INT64, ()), TensorType(DType.BOOL, ())
    state = [c.type(i + 2) for i in range(carried)]
    types = _fixpoint(c, body, [count, condition], state, [], 1)
    for i in range(carried):
        c.set_type(i, state[i])
    trips = c.dims(0)
    n = trips[0] if trips is not None and len(trips) == 1 and _never_stops(c, body) else None
    for i in range(carried, len(c.node.outputs)):
        c.set_type(i, _stacked(types[i + 1], 0, max(n, 0) if isinstance(n, int) else n))


def _never_stops(c: InferContext, body: Graph) -> bool:
    """Whether a Loop's condition is true at the start and stays so: then its trip count alone says when it ends."""
    if c.has(1) and c.dims(1) != (1,):
        return False
    again = body.outputs[0]
    while (
        again.producer is not None and again.producer.op in ("Identity", "Cast") and again.producer.input(0) is not None
    ):
        source = again.producer.inputs[0]
        assert source is not None
        again = source
    return again is body.inputs[1] or shape_data(again) == (1,)


def _fixpoint(
    c: InferContext, body: Graph, before: list[Type | None] | list[TensorType], state: list[Type | None],
    after: list[Type | None], skip: int,
) -> list[Type | None]:  # fmt: skip
    """Infers the body until ``state`` (changed in place) holds at every iteration. ``skip`` outputs come before it."""
    types: list[Type | None] = []
    for _ in range(MAX_ROUNDS):
        types = _infer_body(body, [*before, *state, *after])
        joined = [_shifted(s, t) for s, t in zip(state, types[skip:], strict=False)]
        if joined == state:
            return types
        state[:] = joined
    state[:] = [TensorType(t.dtype, None) if isinstance(t, TensorType) else t for t in state]
    return _infer_body(body, [*before, *state, *after])


def _stacked(element: Type | None, axis: int, count: Dim | None) -> Type | None:
    if not isinstance(element, TensorType) or element.shape is None:
        return TensorType(element.dtype, None) if isinstance(element, TensorType) else None
    at = axis + len(element.shape) + 1 if axis < 0 else axis
    return TensorType(element.dtype, (*element.shape[:at], count, *element.shape[at:]))


@rule("Scan")
def scan(c: InferContext) -> None:
    first = 1 if c.since < 9 else 0  # before opset 9: sequence_lens in front, and a batch axis on everything
    scanned = c.attr("num_scan_inputs", 0)
    carried = len(c.node.inputs) - first - scanned
    if carried < 0:
        raise c.fail(f"{scanned} scan inputs of {len(c.node.inputs) - first} inputs in all")
    body = _body(c, "body", carried + scanned, len(c.node.outputs))
    state = [c.type(first + i) for i in range(carried)]
    batch: Dim | None = None
    length: Dim | None = None
    slices: list[Type | None] = []
    axes = c.attr("scan_input_axes")
    for i in range(scanned):
        given = c.type(first + carried + i)
        if not isinstance(given, TensorType) or given.shape is None:
            slices.append(TensorType(given.dtype, None) if isinstance(given, TensorType) else None)
            continue
        shape = given.shape
        axis = axis_of(c, first if axes is None else axes[i], len(shape))
        if first and len(shape) >= 2:
            batch, length = shape[0], shape[1]
            slices.append(TensorType(given.dtype, shape[2:]))
        else:
            length = shape[axis] if length is None else length
            slices.append(TensorType(given.dtype, (*shape[:axis], *shape[axis + 1 :])))
    if first:
        state = [_without_batch(t) for t in state]
    types = _fixpoint(c, body, [], state, slices, 0)
    out_axes = c.attr("scan_output_axes")
    for i in range(len(c.node.outputs)):
        if i < carried:
            out = state[i]
        else:
            out = _stacked(types[i], 0 if out_axes is None or first else out_axes[i - carried], length)
        c.set_type(i, _with_batch(out, batch) if first else out)


def _without_batch(t: Type | None) -> Type | None:
    return TensorType(t.dtype, t.shape[1:]) if isinstance(t, TensorType) and t.shape else None


def _with_batch(t: Type | None, batch: Dim | None) -> Type | None:
    return TensorType(t.dtype, (batch, *t.shape)) if isinstance(t, TensorType) and t.shape is not None else None


@rule("SequenceMap")
def sequence_map(c: InferContext) -> None:
    body = _body(c, "body", len(c.node.inputs), len(c.node.outputs))
    given = [c.type(i) for i in range(len(c.node.inputs))]
    types = _infer_body(body, [element_of(t) if isinstance(t, SequenceType) else t for t in given])
    for i, element in enumerate(types):
        c.set_type(i, SequenceType(element))
