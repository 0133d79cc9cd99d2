"""Type and shape inference: RONN's symbolic rules for common operators, ONNX's per-node inference for the rest.

A rule is registered in a file of ``ronn/ops/rules/`` and fills in what it knows through its context:

    @rule("Relu", "Sigmoid")
    def same(c: InferContext) -> None:
        c.set(0, c.dtype(0), c.shape(0))

Inference never raises for what it cannot know: an unknown dim is None, an unknown rank is a None shape. It raises
``ModelError`` where the types contradict the operator (a Conv whose channels do not match).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import is_
from typing import TYPE_CHECKING, Any

from ronn.errors import ModelError, RonnError
from ronn.families import Families
from ronn.ir.dims import Dim, Shape
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, OptionalType, SequenceType, TensorType, Type
from ronn.ops.fits import check_fit
from ronn.ops.rules_index import RULES
from ronn.ops.schema import OpSchema, schema_of

if TYPE_CHECKING:
    import numpy as np

MAX_SHAPE_DATA = 64  # elements of an integer tensor that inference follows symbolically
MAX_RANK = 64


class InferContext:
    """What a rule sees of one node, and where it puts its results."""

    __slots__ = ("node", "schema")

    def __init__(self, node: Node, schema: OpSchema | None) -> None:
        self.node = node
        self.schema = schema

    def attr(self, name: str, default: Any = None) -> Any:
        """The attribute, else the schema's default, else ``default``."""
        value = self.node.attributes.get(name)
        if value is None and self.schema is not None:
            value = self.schema.defaults.get(name)
        return default if value is None else value

    @property
    def since(self) -> int:
        """The schema version that applies."""
        return self.node.version if self.schema is None else self.schema.since

    def has(self, index: int) -> bool:
        return self.node.input(index) is not None

    def type(self, index: int) -> Type | None:
        value = self.node.input(index)
        return None if value is None else value.type

    def dtype(self, index: int) -> DType | None:
        value = self.node.input(index)
        return None if value is None else value.dtype

    def shape(self, index: int) -> Shape | None:
        value = self.node.input(index)
        return None if value is None else value.tensor.shape

    def rank(self, index: int) -> int | None:
        shape = self.shape(index)
        return None if shape is None else len(shape)

    def const(self, index: int) -> np.ndarray | None:
        """The array of a constant input, or of one that a Constant node makes; None when it is neither."""
        value = self.node.input(index)
        if value is None or value.data is not None or value.producer is None:
            return None if value is None else value.data
        maker = value.producer
        if maker.op != "Constant" or maker.domain:
            return None
        from ronn.ops.rules.creation import constant_array

        return constant_array(maker.attributes)

    def dims(self, index: int) -> tuple[Dim | None, ...] | None:
        """The elements of a small integer input as dims (constant or known symbolically); None when unknown."""
        value = self.node.input(index)
        return None if value is None else shape_data(value)

    def set(self, index: int, dtype: DType | None, shape: Iterable[Dim | None] | None) -> None:
        """Gives output ``index`` a tensor type."""
        if index < len(self.node.outputs):
            self.set_type(index, TensorType(dtype, None if shape is None else tuple(shape)))

    def set_type(self, index: int, type: Type | None) -> None:
        if index < len(self.node.outputs):
            value = self.node.outputs[index]
            merged = merge_types(type, value.type)
            if merged != value.type:  # what is said again stays the same object: see Inferred
                value.type = merged

    def set_dims(self, index: int, elements: Iterable[Dim | None]) -> None:
        """Says what the elements of an integer output (rank 0 or 1) are."""
        known = tuple(elements)
        if index < len(self.node.outputs) and len(known) <= MAX_SHAPE_DATA:
            value = self.node.outputs[index]
            if known != value.shape_data:
                value.shape_data = known

    def fail(self, message: str, hint: str | None = None) -> ModelError:
        """A ``ModelError`` about this node, to be raised by the rule."""
        return ModelError(message, node=self.node, hint=hint)


def shape_data(value: Value) -> tuple[Dim | None, ...] | None:
    """The elements of a small integer value as dims, when it is constant or followed symbolically."""
    # What was followed symbolically may say less than the constant that it was folded to.
    if value.data is not None and (value.shape_data is None or None in value.shape_data):
        data = value.data
        if data.ndim <= 1 and data.size <= MAX_SHAPE_DATA and data.dtype.kind in "iub":
            value.shape_data = tuple(int(x) for x in data.reshape(-1))
    return value.shape_data


def merge_types(new: Type | None, old: Type | None) -> Type | None:
    """``new`` where it knows, ``old`` where only that one knows (a dim that one side calls None)."""
    if new is None:
        return old
    if not isinstance(new, TensorType) or not isinstance(old, TensorType):
        return new
    if new.dtype is not None and new.shape is not None and None not in new.shape:
        return new
    dtype = new.dtype if new.dtype is not None else old.dtype
    if new.shape is None or old.shape is None or len(new.shape) != len(old.shape):
        return TensorType(dtype, new.shape if new.shape is not None else old.shape)
    return TensorType(dtype, tuple(o if n is None else n for n, o in zip(new.shape, old.shape, strict=True)))


def forget_declared_shapes(graph: Graph) -> None:
    """Drops the shapes that a model file declares for what its nodes make, and for the inputs of its subgraphs.

    Files get them wrong, and kernels and buffers rely on inferred shapes: only what follows from the graph's inputs
    counts. Dtypes stay: they are all that is known of an operator without a rule.
    """
    for node in graph:
        for value in node.outputs:
            value.type = without_shape(value.type)
        for sub in node.subgraphs():
            for value in sub.inputs:
                value.type = without_shape(value.type)
            forget_declared_shapes(sub)


def without_shape(type: Type | None) -> Type | None:
    """``type`` with nothing said about the shapes of the tensors in it."""
    match type:
        case TensorType():
            return TensorType(type.dtype, None)
        case SequenceType():
            return SequenceType(without_shape(type.element))
        case OptionalType():
            return OptionalType(without_shape(type.element))
    return type


Rule = Callable[[InferContext], None]
_rules: dict[tuple[str, str], Rule] = {}


def rule(*ops: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Registers a shape rule for operators of ``domain``."""

    def register(fn: Rule) -> Rule:
        for op in ops:
            _rules[(domain, op)] = fn
        return fn

    return register


def rule_of(domain: str, op: str) -> Rule | None:
    """The rule that is registered for an operator; None when there is none."""
    return _rule_of(domain, op)


def forget_rule(domain: str, op: str) -> None:
    """Takes back what ``rule`` registered for an operator."""
    _rules.pop((domain, op), None)


class Inferred:
    """What inference saw of each node of a graph when it last looked at it, so that looking again at one where nothing
    has changed costs nothing. Types, arrays and known elements are replaced and never changed, so identity tells."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[Node, list[Any]] = {}

    def knows(self, node: Node) -> bool:
        """Whether all that inference goes by, and what it found, is as it was."""
        seen = self._seen.get(node)
        if seen is None:
            return False
        now = _seen_of(node)
        return len(now) == len(seen) and all(map(is_, now, seen))

    def remember(self, node: Node) -> None:
        """Keeps what there is to see of a node that has just been looked at."""
        if next(node.subgraphs(), None) is None:  # what happens inside of those is not seen from here
            self._seen[node] = _seen_of(node)


def _seen_of(node: Node) -> list[Any]:
    seen: list[Any] = [node.inputs, *node.attributes.values()]
    for value in node.inputs:
        if value is not None:
            seen += (value.type, value.data, value.shape_data, value.producer)
    for value in node.outputs:
        seen += (value, value.type, value.shape_data)
    return seen


def infer_as(op: str, context: InferContext) -> None:
    """Runs the rule of another operator of ONNX's own domain on a node."""
    found = _rule_of("", op)
    assert found is not None
    found(context)


def infer_types(graph: Graph, known: Inferred | None = None) -> None:
    """Gives every value of ``graph`` and its subgraphs the best type that is known, in one walk in order.

    What a model declares about the shapes of its outputs is not believed where a rule or ONNX can tell. Raises
    ModelError, naming the node, where types contradict an operator. ``known``: nodes of this graph that an earlier walk
    has seen as they are need no second look.
    """
    for out in graph.outputs:
        maker = out.producer
        if maker is None or not isinstance(out.type, TensorType) or out.type.shape is None:
            continue
        if (known is None or not known.knows(maker)) and _can_tell(maker):
            out.type = TensorType(out.type.dtype, None)
    if known is None:
        for node in graph:
            infer_node(node)
        return
    for node in graph:
        if not known.knows(node):
            infer_node(node)
            known.remember(node)


_STANDARD_DOMAINS = frozenset(("", "ai.onnx.ml", "com.microsoft"))
_ONNX_DOMAINS = frozenset(("", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview"))
_families = Families("ronn.ops.rules", RULES)


def all_rules() -> Mapping[tuple[str, str], Rule]:
    """Every rule, by domain and operator."""
    _families.all()
    return _rules


@cache
def _look_for(domain: str, op: str) -> None:
    _families.modules(domain, op)


def _rule_of(domain: str, op: str) -> Rule | None:
    found = _rules.get((domain, op))
    if found is None and domain in _ONNX_DOMAINS:
        _look_for(domain, op)
        found = _rules.get((domain, op))
    return found


def _can_tell(node: Node) -> bool:
    return _rule_of(node.domain, node.op) is not None or (node.domain in _ONNX_DOMAINS and schema_of(node) is not None)


def infer_node(node: Node) -> None:
    """Infers the output types of one node from the types of its inputs.

    ModelError where they contradict the operator, or where its attributes make no sense.
    """
    schema = schema_of(node)
    if node.domain in _STANDARD_DOMAINS:
        check_fit(node, schema)
    context = InferContext(node, schema)
    found = _rule_of(node.domain, node.op)
    if found is None:
        if schema is None or node.domain not in _ONNX_DOMAINS:
            return
        from ronn.ops.onnx_inference import infer_by_onnx

        found = infer_by_onnx
    try:
        found(context)
    except RonnError:
        raise
    except Exception as e:
        raise ModelError(f"{node.op_id} makes no sense here: {type(e).__name__}: {e}", node=node) from e
