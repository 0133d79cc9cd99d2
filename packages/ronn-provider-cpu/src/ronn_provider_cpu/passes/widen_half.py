"""float16 kept as float32 between the nodes that compute in float32 anyway.

The kernels here widen float16 operands, compute in float32 and round back. Between two such nodes the rounding costs
time and accuracy for nothing, so values are kept wide: casts stand only where float16 is visible (graph inputs and
outputs, casts that the model itself asks for, operators that are about the bits). What only moves values (a Reshape)
follows its input.
"""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops.schema import OpSchema, schema_of
from ronn.passes.edit import graphs
from ronn.passes.manager import PassContext, define_pass
from ronn.records import dataclass, field

_HALF, _WIDE = DType.FLOAT16, DType.FLOAT32
# Their result depends on the dtype of the operand itself, not only on its value, or they are casts.
_BITWISE = frozenset(
    {"Cast", "CastLike", "BitCast", "QuantizeLinear", "DequantizeLinear", "ConstantOfShape", "EyeLike"}
)


@define_pass("widen-half", requires_types=True)
def widen_half(graph: Graph, context: PassContext) -> bool:
    """Keep float16 values as float32 between operators that compute in float32."""
    changed = False
    for g in graphs(graph):
        changed = _Widening(g, context).run() or changed
    return changed


@dataclass
class _Widening:
    """One graph: ``wide`` maps a float16 value to its float32 twin, ``narrow`` the other way round."""

    graph: Graph
    context: PassContext
    wide: dict[Value, Value] = field(default_factory=dict)

    def run(self) -> bool:
        changed = False
        for node in self.graph:
            self.context.at = node
            if not self.context.may_rewrite():
                break
            if _widens_again(node) and self._sees_wide(node):
                self._look_through(node)
                changed = True
            elif _can_widen(node) and (_computes(node) or self._sees_wide(node)):
                self._widen(node)
                changed = True
        return changed

    def _sees_wide(self, node: Node) -> bool:
        return any(v in self.wide and not v.is_const for v in node.inputs if v is not None)

    def _look_through(self, node: Node) -> None:
        """A Cast to float32 of a value that is kept as float32."""
        node.op = "Identity"
        node.attributes.clear()
        node.set_inputs([self.wide[v] for v in node.inputs if v is not None])
        self.context.rewrote([node], detail=node.label)

    def _widen(self, node: Node) -> None:
        node.set_inputs([self._wide(v, node) if _is_half(v) else v for v in node.inputs])
        made = []
        for out in node.outputs:
            if out.name and out.dtype is _HALF:
                made.append(self._narrow_again(out, node))
        self.context.rewrote([node, *made], detail=node.label)

    def _wide(self, value: Value | None, user: Node) -> Value:
        assert value is not None
        found = self.wide.get(value)
        if found is None:
            if value.data is not None:
                name = self.context.fresh(self.graph, value.name)
                found = self.graph.constant(value.data.astype(np.float32), name)
            else:
                found = self._cast(value, _WIDE, user)
                self.graph.insert_before(user, found.producer)  # type: ignore[arg-type]
            self.wide[value] = found
        return found

    def _narrow_again(self, out: Value, node: Node) -> Node:
        """Makes ``out`` float32 and gives its users a float16 copy; those that widen will look through it."""
        half_type = out.type
        out.type = TensorType(_WIDE, out.tensor.shape)
        half = self._cast(out, _HALF, node)
        half.type = half_type
        assert half.producer is not None
        for user, index in list(out.uses):
            if user is not half.producer:
                user.set_input(index, half)
        self.graph.insert_after(node, half.producer)
        for i, value in enumerate(self.graph.outputs):
            if value is out:
                self.graph.outputs[i] = half
        out.name, half.name = half.name, out.name
        self.wide[half] = out
        return half.producer

    def _cast(self, value: Value, to: DType, near: Node) -> Value:
        version = near.version if near.domain == "" else self.context.opset
        out = Value(self.context.fresh(self.graph, value.name), TensorType(to, value.tensor.shape))
        Node("Cast", [value], [out], {"to": to.code}, version=version, name=near.name)
        return out


def _is_half(value: Value | None) -> bool:
    return value is not None and value.dtype is _HALF


def _widens_again(node: Node) -> bool:
    return node.op == "Cast" and node.domain == "" and node.attributes.get("to") == _WIDE.code


def _can_widen(node: Node) -> bool:
    """Whether ``node`` works on float16 and its schema allows float32 in every such place."""
    if node.op in _BITWISE or next(node.subgraphs(), None) is not None:
        return False
    halves = [v for v in (*node.inputs, *node.outputs) if v is not None and v.name and v.dtype is _HALF]
    if not halves or not any(_is_half(v) for v in node.inputs):
        return False
    schema = schema_of(node)
    return schema is not None and schema.pure and _allows_float(node, schema)


def _computes(node: Node) -> bool:
    """Whether ``node`` does arithmetic; an operator that also takes booleans only moves values."""
    schema = schema_of(node)
    index = next(i for i, v in enumerate(node.inputs) if _is_half(v))
    formal = None if schema is None else schema.formal_input(index)
    return schema is None or formal is None or "tensor(bool)" not in schema.types.get(formal.type, ())


def _allows_float(node: Node, schema: OpSchema) -> bool:
    if "dtype" in schema.attributes or "to" in schema.attributes or "stash_type" in node.attributes:
        return False
    for values, formal_of in ((node.inputs, schema.formal_input), (node.outputs, schema.formal_output)):
        for i, value in enumerate(values):
            if value is None or not value.name or value.dtype is not _HALF:
                continue
            formal = formal_of(i)
            if formal is None or "tensor(float)" not in schema.types.get(formal.type, (formal.type,)):
                return False
    return True
