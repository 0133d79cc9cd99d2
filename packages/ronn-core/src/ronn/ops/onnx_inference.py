"""Types by ``onnx``'s own shape inference, one node at a time, for operators without a rule here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ronn.errors import ModelError
from ronn.ir.dims import Dim, Shape, Sym, sym
from ronn.ir.graph import Value
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type
from ronn.ops.infer import InferContext, shape_data

if TYPE_CHECKING:
    import onnx

MAX_CONSTANT = 4096  # elements of a constant input that onnx gets to see


def infer_by_onnx(context: InferContext) -> None:
    """Sets the types of all outputs that onnx can tell; leaves the others alone.

    Symbolic dims travel as dim_params and are read back. ModelError where onnx finds a contradiction.
    """
    import onnx
    from onnx.shape_inference import InferenceError, infer_node_outputs

    node = context.node
    schema = context.schema
    if schema is None or any(True for _ in node.subgraphs()):
        return
    from ronn.frontend.proto import node_to_proto

    names = {v: f"i{i}" for i, v in enumerate(node.inputs) if v is not None}
    names.update({v: f"o{i}" for i, v in enumerate(node.outputs) if v.name})
    proto = node_to_proto(node, names)
    symbols = _Symbols()
    types, data = _inputs(context, names, symbols)
    try:
        raw = onnx.defs.get_schema(node.op, schema.since, node.domain)
        found = infer_node_outputs(
            raw,
            proto,
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid(node.domain, node.version)],
            ir_version=onnx.IR_VERSION,
        )
    except (InferenceError, onnx.checker.ValidationError) as e:
        if _is_complete(context):
            raise ModelError(f"onnx's shape inference refuses this node: {_short(e)}", node=node) from e
        return
    except (onnx.defs.SchemaError, RuntimeError, TypeError, ValueError):
        return  # onnx lacks what it needs for this operator: its types stay unknown
    for index, value in enumerate(node.outputs):
        made = found.get(names.get(value, ""))
        if made is not None:
            context.set_type(index, read_type(made, symbols.dims))


def _short(error: Exception) -> str:
    return str(error).split("\n")[0]


def _is_complete(context: InferContext) -> bool:
    """Whether all input types were known, so that what onnx complains about is the model's doing."""
    return all(v is None or (v.dtype is not None and v.tensor.shape is not None) for v in context.node.inputs)


class _Symbols:
    """Symbolic dims on their way through onnx: each travels under a name of its own."""

    def __init__(self) -> None:
        self.names: dict[Sym, Sym] = {}
        self.dims: dict[str, Dim] = {}

    def shape(self, shape: Shape | None) -> Shape | None:
        return None if shape is None else tuple(self.name(d) if isinstance(d, Sym) else d for d in shape)

    def name(self, d: Sym) -> Sym:
        if d not in self.names:
            text = f"ronn_{len(self.names)}"
            self.names[d] = sym(text)
            self.dims[text] = d
        return self.names[d]

    def type(self, t: Type | None) -> Type | None:
        match t:
            case TensorType():
                return TensorType(t.dtype, self.shape(t.shape))
            case SparseTensorType():
                return SparseTensorType(t.dtype, self.shape(t.shape))
            case SequenceType():
                return SequenceType(self.type(t.element))
            case OptionalType():
                return OptionalType(self.type(t.element))
            case MapType():
                return MapType(t.key, self.type(t.value))
        return None


def _inputs(
    context: InferContext, names: dict[Value, str], symbols: _Symbols
) -> tuple[dict[str, onnx.TypeProto], dict[str, onnx.TensorProto]]:
    from ronn.frontend.proto import array_to_proto, type_to_proto

    types: dict[str, onnx.TypeProto] = {}
    data: dict[str, onnx.TensorProto] = {}
    for value in context.node.inputs:
        if value is None:
            continue
        name = names[value]
        types[name] = type_to_proto(symbols.type(value.type) if _is_known(value.type) else None)
        array = _small_array(value)
        if array is not None:
            data[name] = array_to_proto(array, name)
    return types, data


def _is_known(t: Type | None) -> bool:
    match t:
        case None:
            return False
        case TensorType() | SparseTensorType():
            return t.dtype is not None
        case SequenceType() | OptionalType():
            return _is_known(t.element)
        case MapType():
            return _is_known(t.value)


def _small_array(value: Value) -> Any:
    if value.data is not None:
        return value.data if value.data.size <= MAX_CONSTANT else None
    known = shape_data(value)
    if known is None or value.dtype not in (DType.INT64, DType.INT32) or value.tensor.rank is None:
        return None
    if not all(isinstance(d, int) for d in known):
        return None
    import numpy as np

    return np.array(known, value.dtype.numpy).reshape(() if value.tensor.rank == 0 else -1)


def read_type(proto: onnx.TypeProto, dims: Mapping[str, Dim]) -> Type | None:
    """The type that a TypeProto describes. ``dims`` says what dim_params stand for; others are unknown."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return TensorType(_dtype(proto.tensor_type.elem_type), _shape(proto.tensor_type, dims))
    if kind == "sparse_tensor_type":
        return SparseTensorType(_dtype(proto.sparse_tensor_type.elem_type), _shape(proto.sparse_tensor_type, dims))
    if kind == "sequence_type":
        return SequenceType(read_type(proto.sequence_type.elem_type, dims))
    if kind == "optional_type":
        return OptionalType(read_type(proto.optional_type.elem_type, dims))
    if kind == "map_type":
        key = _dtype(proto.map_type.key_type)
        return None if key is None else MapType(key, read_type(proto.map_type.value_type, dims))
    return None


def _dtype(code: int) -> DType | None:
    try:
        return DType.from_code(code)
    except KeyError:
        return None


def _shape(proto: Any, dims: Mapping[str, Dim]) -> Shape | None:
    return tuple(_dim(d, dims) for d in proto.shape.dim) if proto.HasField("shape") else None


def _dim(proto: onnx.TensorShapeProto.Dimension, dims: Mapping[str, Dim]) -> Dim | None:
    if proto.HasField("dim_value"):
        # Some of onnx's rules read the size of a symbolic dim as 0 and compute with it.
        return int(proto.dim_value) if proto.dim_value > 0 or (proto.dim_value == 0 and not dims) else None
    return dims.get(proto.dim_param)
