"""Arrays, types and attribute values as ONNX protos."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.frontend.check import fits, kind_of
from ronn.ir.dims import Shape, Sym
from ronn.ir.graph import Attr, AttrRef, Graph
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type

if TYPE_CHECKING:
    import onnx


def array_to_proto(array: np.ndarray, name: str = "") -> onnx.TensorProto:
    """A tensor of any ONNX element type. TypeError for a NumPy dtype that ONNX lacks."""
    import onnx

    dtype = DType.of(array.dtype)
    proto = onnx.TensorProto(name=name, dims=array.shape, data_type=dtype.code)
    if dtype is DType.STRING:
        proto.string_data.extend(_bytes(s) for s in array.reshape(-1))
    else:
        proto.raw_data = packed(array, dtype).tobytes()
    return proto


def packed(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The elements as ONNX stores them: little-endian, elements of less than a byte packed from the low bits up."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype.bits >= 8:
        return flat if flat.dtype.byteorder != ">" else flat.astype(flat.dtype.newbyteorder("<"))
    codes = flat.view(np.uint8) & ((1 << dtype.bits) - 1)
    if dtype.bits == 6:
        return _pack6(codes)
    per_byte = 8 // dtype.bits
    grid = np.zeros((-(-codes.size // per_byte), per_byte), np.uint8)
    grid.reshape(-1)[: codes.size] = codes
    out = np.zeros(len(grid), np.uint8)
    for i in range(per_byte):
        out |= grid[:, i] << np.uint8(i * dtype.bits)
    return out


def _pack6(codes: np.ndarray) -> np.ndarray:
    grid = np.zeros((-(-codes.size // 4), 4), np.uint32)
    grid.reshape(-1)[: codes.size] = codes
    word = grid[:, 0] | (grid[:, 1] << 6) | (grid[:, 2] << 12) | (grid[:, 3] << 18)
    out = np.stack([word & 0xFF, (word >> 8) & 0xFF, word >> 16], axis=1).astype(np.uint8)
    return out.reshape(-1)[: (codes.size * 6 + 7) // 8]


def sparse_to_proto(dense: np.ndarray, name: str = "") -> onnx.SparseTensorProto:
    """A dense array as the sparse tensor (COO) of its nonzero elements."""
    import onnx

    flat = dense.reshape(-1)
    zero = flat == "" if flat.dtype == object else flat == 0
    (where,) = np.nonzero(~np.asarray(zero, bool))
    return onnx.SparseTensorProto(
        values=array_to_proto(flat[where], name),
        indices=array_to_proto(where.astype(np.int64), f"{name}_indices"),
        dims=dense.shape,
    )


def type_to_proto(type: Type | None) -> onnx.TypeProto:
    """The type as a TypeProto; an empty one for None."""
    import onnx

    proto = onnx.TypeProto()
    match type:
        case TensorType():
            proto.tensor_type.elem_type = 0 if type.dtype is None else type.dtype.code
            _write_shape(proto.tensor_type, type.shape)
        case SparseTensorType():
            proto.sparse_tensor_type.elem_type = 0 if type.dtype is None else type.dtype.code
            _write_shape(proto.sparse_tensor_type, type.shape)
        case SequenceType():
            proto.sequence_type.elem_type.CopyFrom(type_to_proto(type.element))
        case OptionalType():
            proto.optional_type.elem_type.CopyFrom(type_to_proto(type.element))
        case MapType():
            proto.map_type.key_type = type.key.code
            proto.map_type.value_type.CopyFrom(type_to_proto(type.value))
    return proto


def _write_shape(proto: Any, shape: Shape | None) -> None:
    if shape is None:
        return
    proto.shape.SetInParent()
    for d in shape:
        dim = proto.shape.dim.add()
        if isinstance(d, Sym):
            dim.dim_param = str(d.terms[0][0][0]) if d.is_name else str(d)
        elif d is not None:
            dim.dim_value = d


def value_info(name: str, type: Type | None) -> onnx.ValueInfoProto:
    """A ValueInfoProto; without a type where it is unknown."""
    import onnx

    info = onnx.ValueInfoProto(name=name)
    if type is not None:
        info.type.CopyFrom(type_to_proto(type))
    return info


def attribute_to_proto(
    name: str, value: Attr, kind: str | None, graph: Callable[[Graph], onnx.GraphProto]
) -> onnx.AttributeProto:
    """An attribute. ``kind`` (``INT``, ``FLOATS`` ...) is what the schema says, None when there is none.

    TypeError for a value that ONNX cannot hold.
    """
    import onnx

    proto = onnx.AttributeProto(name=name)
    if isinstance(value, AttrRef):
        proto.ref_attr_name = value.name
        if kind is not None:
            proto.type = onnx.AttributeProto.AttributeType.Value(kind)
        return proto
    plain = _plain(value)
    if kind in ("FLOAT", "FLOATS"):
        plain = [float(v) for v in plain] if isinstance(plain, list) else float(plain)
    if kind is None or not fits(plain, kind):
        kind = _own_kind(plain)
    proto.type = onnx.AttributeProto.AttributeType.Value(kind)
    match kind:
        case "INT":
            proto.i = plain
        case "FLOAT":
            proto.f = plain
        case "STRING":
            proto.s = _bytes(plain)
        case "TENSOR":
            proto.t.CopyFrom(array_to_proto(plain, name))
        case "SPARSE_TENSOR":
            proto.sparse_tensor.CopyFrom(sparse_to_proto(plain, name))
        case "GRAPH":
            proto.g.CopyFrom(graph(plain))
        case "TYPE_PROTO":
            proto.tp.CopyFrom(type_to_proto(plain))
        case "INTS":
            proto.ints.extend(plain)
        case "FLOATS":
            proto.floats.extend(float(v) for v in plain)
        case "STRINGS":
            proto.strings.extend(_bytes(v) for v in plain)
        case "TENSORS":
            proto.tensors.extend(array_to_proto(v) for v in plain)
        case "SPARSE_TENSORS":
            proto.sparse_tensors.extend(sparse_to_proto(v) for v in plain)
        case "GRAPHS":
            proto.graphs.extend(graph(v) for v in plain)
        case "TYPE_PROTOS":
            proto.type_protos.extend(type_to_proto(v) for v in plain)
    return proto


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_, np.integer)):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    return value


def _own_kind(value: Any) -> str:
    if isinstance(value, list) and {type(v) for v in value} == {int, float}:
        return "FLOATS"
    kind = kind_of(value)
    if not fits(value, kind):
        raise TypeError(f"ONNX attributes cannot hold {str(value)[:80]!r}")
    return kind


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
