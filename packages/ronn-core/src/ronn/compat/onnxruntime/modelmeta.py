"""NodeArg and ModelMetadata, and the names that onnxruntime gives types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from mmap import mmap

from ronn.ir.dims import Sym
from ronn.ir.graph import Metadata
from ronn.ir.types import MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type
from ronn.values import plain_dim

NO_VERSION = 2**63 - 1
"""The version of a model that states none."""


def type_name(type: Type | None) -> str:
    """``tensor(float)``, ``seq(map(int64,tensor(float)))``, ``optional(tensor(float))`` ...; empty when unknown."""
    match type:
        case TensorType():
            return f"tensor({'' if type.dtype is None else type.dtype.onnx_name})"
        case SparseTensorType():
            return f"sparse_tensor({'' if type.dtype is None else type.dtype.onnx_name})"
        case SequenceType():
            return f"seq({type_name(type.element)})"
        case OptionalType():
            return f"optional({type_name(type.element)})"
        case MapType():
            return f"map({type.key.onnx_name},{type_name(type.value)})"
    return ""


class NodeArg:
    """An input or output: its name, type (``tensor(float)``) and shape, whose dims are ints, symbols or None."""

    __slots__ = ("_name", "_shape", "_type")

    def __init__(self, name: str, type: str, shape: list[int | str | None]) -> None:
        self._name = name
        self._type = type
        self._shape = shape

    @property
    def name(self) -> str:
        return self._name

    @property
    def type(self) -> str:
        return self._type

    @property
    def shape(self) -> list[int | str | None]:
        return list(self._shape)

    def __str__(self) -> str:
        return f"NodeArg(name={self._name!r}, type={self._type!r}, shape={self._shape!r})"


def input_arg(name: str, type: Type | None, sizes: Mapping[str, int]) -> NodeArg:
    """A NodeArg of a declared type, with ``sizes`` in place of their symbols."""
    shape = type.shape if isinstance(type, TensorType) else None
    dims = [plain_dim(d) for d in shape] if shape is not None else []
    return NodeArg(name, type_name(type), [sizes.get(d, d) if isinstance(d, str) else d for d in dims])


def output_arg(
    name: str, inferred: Type | None, declared: Type | None, sizes: Mapping[str, int], symbols: set[str]
) -> NodeArg:
    """A NodeArg of an output: a size that is known wins, then the declared symbol, then a symbol of the inputs."""
    kind = inferred if declared is None or not type_name(declared) else declared
    if not isinstance(kind, TensorType):
        return NodeArg(name, type_name(kind), [])
    found = inferred.shape if isinstance(inferred, TensorType) else None
    stated = kind.shape
    if stated is None:
        stated = found
    elif found is not None and len(found) != len(stated):
        found = None  # a file may declare another rank than its nodes give: onnxruntime repeats what it declares
    dims: list[int | str | None] = []
    for i, d in enumerate(stated if stated is not None else ()):
        other = found[i] if found is not None else None
        if isinstance(other, int):
            dims.append(other)
            continue
        if d is None and isinstance(other, Sym) and other.is_name and plain_dim(other) in symbols:
            d = other
        plain = plain_dim(d)
        dims.append(sizes.get(plain, plain) if isinstance(plain, str) else plain)
    return NodeArg(name, type_name(kind if kind.dtype is not None else inferred), dims)


class ModelMetadata:
    """What a model says of itself."""

    def __init__(self, about: Metadata, states_version: Callable[[], bool]) -> None:
        self.producer_name = about.producer_name
        self.graph_name = about.graph_name
        self.domain = about.domain
        self.description = about.description
        self.graph_description = about.graph_description
        self.custom_metadata_map: dict[str, str] = dict(about.custom)
        self._version: int | None = about.version if about.version != 0 else None
        self._states_version = states_version

    @property
    def version(self) -> int:
        """The model's version; the largest int64 when the file states none."""
        if self._version is None:
            self._version = 0 if self._states_version() else NO_VERSION
        return self._version

    @version.setter
    def version(self, value: int) -> None:
        self._version = value


def states_version(data: bytes | mmap) -> bool:
    """Whether a serialised model has a ``model_version``, be it 0. Reads the outermost fields only."""
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            field, wire = tag >> 3, tag & 7
            if field == 5 and wire == 0:
                return True
            if wire == 0:
                _, at = _varint(data, at)
            elif wire == 2:
                size, at = _varint(data, at)
                at += size
            else:
                at += {1: 8, 5: 4}[wire]
    except (IndexError, KeyError):
        pass  # not the protobuf format: text, say
    return False


def _varint(data: bytes | mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
