"""Removes nodes that hand their input on unchanged."""

from __future__ import annotations

from collections.abc import Callable

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import attr, const, ints, is_used, remove_dead, replace_value, walk
from ronn.passes.manager import PassContext, define_pass


@define_pass("eliminate-identity", requires_types=True, keeps_types=True, local=True)
def eliminate_identity(graph: Graph, context: PassContext) -> bool:
    """Removes Identity, Dropout, casts to the same type, and movements that move nothing."""
    changed = False
    for owner, node in walk(graph, context):
        if not context.may_rewrite():
            break
        source = _same_as(node, owner)
        if source is None or not _replaceable(owner, node, source):
            continue
        if source.dtype is not None and node.output.dtype is not None and source.dtype is not node.output.dtype:
            continue
        replace_value(owner, node.output, source, context)
        context.rewrote(detail=f"removed {node.label}")
        remove_dead([node], owner)
        changed = True
    return changed


def _replaceable(graph: Graph, node: Node, source: Value) -> bool:
    """A graph output stays a value that a node of the graph makes, and each one a value of its own."""
    if not graph.is_output(node.output):
        return True
    own = source.producer is not None and source.producer.graph is graph
    return own and not graph.is_output(source)


def _same_as(node: Node, graph: Graph) -> Value | None:
    """The value that output 0 of ``node`` always equals, None when there is none."""
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return None
    test = _TESTS.get(node.op)
    if test is None or any(is_used(v, graph) for v in node.outputs[1:]):
        return None
    return test(node)


def _first(node: Node) -> Value | None:
    return node.input(0)


def _only(node: Node) -> Value | None:
    return node.input(0) if len(node.inputs) == 1 else None


def _same_shape(node: Node) -> Value | None:
    source = node.input(0)
    assert source is not None
    before, after = source.tensor.shape, node.output.tensor.shape
    if before is None or after is None or len(before) != len(after):
        return None
    return source if all(a is not None and a == b for a, b in zip(before, after, strict=True)) else None


def _dropout(node: Node) -> Value | None:
    if node.version >= 12:
        mode = node.input(2)
        inference = mode is None or (mode.data is not None and not mode.data.reshape(-1)[0])
    else:
        inference = node.version >= 7 or bool(attr(node, "is_test", 0))
    return node.input(0) if inference else None


def _cast(node: Node) -> Value | None:
    source = node.input(0)
    assert source is not None
    to = node.output.dtype if node.op == "CastLike" else DType.from_code(int(attr(node, "to", 0)))
    if to is None or source.dtype is None:
        return None
    if source.dtype is to:
        return source
    inner = source.producer
    if inner is None or inner.op != "Cast" or inner.domain != "":
        return None
    origin = inner.input(0)
    if origin is None or origin.dtype is not to or not lossless(to, source.dtype):
        return None
    return origin


def lossless(a: DType, b: DType) -> bool:
    """Whether every value of dtype ``a`` is one of ``b``, so that casting there and back changes nothing."""
    return b.short in _WIDER.get(a.short, "").split()


_WIDER = {
    "bool": "u8 i8 u16 i16 u32 i32 u64 i64 f16 bf16 f32 f64",
    "u8": "u16 i16 u32 i32 u64 i64 f16 bf16 f32 f64", "i8": "i16 i32 i64 f16 bf16 f32 f64",
    "u16": "u32 i32 u64 i64 f32 f64", "i16": "i32 i64 f32 f64",
    "u32": "u64 i64 f64", "i32": "i64 f64",
    "f16": "f32 f64", "bf16": "f32 f64", "f32": "f64",
}  # fmt: skip


def _transpose(node: Node) -> Value | None:
    source = node.input(0)
    assert source is not None
    perm = attr(node, "perm")
    if perm is None:
        return source if source.tensor.rank is not None and source.tensor.rank < 2 else None
    return source if list(perm) == sorted(perm) else None


def _slice(node: Node) -> Value | None:
    if node.version >= 10 and node.input(4) is not None:
        steps = ints(node.input(4))
        if steps is None or any(s != 1 for s in steps):
            return None
    return _same_shape(node)


def _pad(node: Node) -> Value | None:
    pads = ints(node.input(1)) if node.version >= 11 else attr(node, "pads", attr(node, "paddings"))
    return node.input(0) if pads is not None and not any(pads) else None


def _squeezed(node: Node) -> Value | None:
    """Unsqueeze of Squeeze, Reshape of Reshape and the like that end where they began."""
    same = _same_shape(node)
    if same is not None:
        return same
    source = node.input(0)
    assert source is not None
    inner = source.producer
    if inner is None or inner.domain != "" or inner.op not in _RESHAPES or inner.input(0) is None:
        return None
    origin = inner.inputs[0]
    assert origin is not None
    if {node.op, inner.op} == {"Squeeze", "Unsqueeze"} and (axes := _axes(node)) is not None and axes == _axes(inner):
        # Negative axes of Unsqueeze count from the end of its output, those of Squeeze of its input: the same shape.
        if node.op == "Squeeze" or all(a >= 0 for a in axes) or origin.tensor.rank is not None:
            return origin
    before, after = origin.tensor.shape, node.output.tensor.shape
    if before is None or after is None or len(before) != len(after):
        return None
    return origin if all(a is not None and a == b for a, b in zip(before, after, strict=True)) else None


_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")


def _axes(node: Node) -> list[int] | None:
    axes = ints(node.input(1)) if node.version >= 13 else attr(node, "axes")
    return None if axes is None else [int(a) for a in axes]


def _clip(node: Node) -> Value | None:
    return node.input(0) if node.version >= 11 and node.input(1) is None and node.input(2) is None else None


def _split(node: Node) -> Value | None:
    return node.input(0) if len(node.outputs) == 1 else None


def _reduce(node: Node) -> Value | None:
    """A reduction over no axes that is declared to do nothing then."""
    if not attr(node, "noop_with_empty_axes", 0):
        return None
    axes = node.input(1)
    return node.input(0) if axes is None or (const(axes) is not None and axes.tensor.shape == (0,)) else None


_TESTS: dict[str, Callable[[Node], Value | None]] = {
    "Identity": _first, "Dropout": _dropout, "Cast": _cast, "CastLike": _cast,
    "Reshape": _squeezed, "Squeeze": _squeezed, "Unsqueeze": _squeezed, "Flatten": _squeezed,
    "Expand": _same_shape, "Tile": _same_shape, "Transpose": _transpose, "Slice": _slice, "Pad": _pad,
    "Concat": _only, "Sum": _only, "Max": _only, "Min": _only, "Mean": _only, "Clip": _clip, "Split": _split,
    "ReduceSum": _reduce, "ReduceMean": _reduce, "ReduceMax": _reduce, "ReduceMin": _reduce, "ReduceProd": _reduce,
}  # fmt: skip
