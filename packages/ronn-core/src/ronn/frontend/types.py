"""TypeProto to Type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ronn.frontend import limits
from ronn.frontend.limits import DEFAULTS, Limits
from ronn.frontend.names import text
from ronn.ir.dims import Dim, Shape, sym
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type

if TYPE_CHECKING:
    import onnx

# What exporters write for a size that has no name.
_NO_NAME = frozenset({"", "?", "-1", "None", "none", "*"})


def read_type(proto: onnx.TypeProto, bounds: Limits = DEFAULTS, depth: int = 0) -> Type | None:
    """The type; None where the proto says nothing. ValueError for what ONNX does not define or bounds forbid."""
    bounds.check_depth(depth, "types are nested")
    kind = proto.WhichOneof("value")
    match kind:
        case None:
            return None
        case "tensor_type":
            return TensorType(_dtype(proto.tensor_type.elem_type), _shape(proto.tensor_type))
        case "sparse_tensor_type":
            return SparseTensorType(_dtype(proto.sparse_tensor_type.elem_type), _shape(proto.sparse_tensor_type))
        case "sequence_type":
            return SequenceType(read_type(proto.sequence_type.elem_type, bounds, depth + 1))
        case "optional_type":
            return OptionalType(read_type(proto.optional_type.elem_type, bounds, depth + 1))
        case "map_type":
            key = _dtype(proto.map_type.key_type)
            if key is None or not (key.is_integer or key is DType.STRING):
                raise ValueError("map type has keys that are neither integers nor strings")
            return MapType(key, read_type(proto.map_type.value_type, bounds, depth + 1))
    raise ValueError(f"type {kind} is not supported")


def _dtype(code: int) -> DType | None:
    if code == 0:
        return None
    try:
        return DType.from_code(code)
    except KeyError:
        raise ValueError(f"element type {code} is unknown") from None


def _shape(tensor: onnx.TypeProto.Tensor | onnx.TypeProto.SparseTensor) -> Shape | None:
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    if len(dims) > limits.MAX_RANK:
        raise ValueError(f"rank {len(dims)} is above the bound of {limits.MAX_RANK}")
    return tuple(_dim(d) for d in dims)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim | None:
    kind = dim.WhichOneof("value")
    if kind == "dim_value":
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    name = text(dim.dim_param) if kind == "dim_param" else ""
    if len(name) > limits.MAX_NAME:
        raise ValueError(f"a dim has a name of {len(name)} characters")
    return None if name.strip() in _NO_NAME else sym(name)
