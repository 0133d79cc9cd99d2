"""Types of values: dtypes, dimensions, tensor, sequence, optional and map types."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ronn.cached import cached_property
from ronn.ir.dims import Dim, Shape, format_shape
from ronn.records import dataclass

if TYPE_CHECKING:
    import numpy as np


class DType(enum.Enum):
    """An ONNX element type. The value is (TensorProto.DataType code, short name, bits, NumPy name)."""

    FLOAT32 = (1, "f32", 32, "float32")
    UINT8 = (2, "u8", 8, "uint8")
    INT8 = (3, "i8", 8, "int8")
    UINT16 = (4, "u16", 16, "uint16")
    INT16 = (5, "i16", 16, "int16")
    INT32 = (6, "i32", 32, "int32")
    INT64 = (7, "i64", 64, "int64")
    STRING = (8, "str", 0, "object")
    BOOL = (9, "bool", 8, "bool")
    FLOAT16 = (10, "f16", 16, "float16")
    FLOAT64 = (11, "f64", 64, "float64")
    UINT32 = (12, "u32", 32, "uint32")
    UINT64 = (13, "u64", 64, "uint64")
    COMPLEX64 = (14, "c64", 64, "complex64")
    COMPLEX128 = (15, "c128", 128, "complex128")
    BFLOAT16 = (16, "bf16", 16, "bfloat16")
    FLOAT8E4M3FN = (17, "f8e4m3fn", 8, "float8_e4m3fn")
    FLOAT8E4M3FNUZ = (18, "f8e4m3fnuz", 8, "float8_e4m3fnuz")
    FLOAT8E5M2 = (19, "f8e5m2", 8, "float8_e5m2")
    FLOAT8E5M2FNUZ = (20, "f8e5m2fnuz", 8, "float8_e5m2fnuz")
    UINT4 = (21, "u4", 4, "uint4")
    INT4 = (22, "i4", 4, "int4")
    FLOAT4E2M1 = (23, "f4e2m1", 4, "float4_e2m1fn")
    FLOAT8E8M0 = (24, "f8e8m0", 8, "float8_e8m0fnu")
    UINT2 = (25, "u2", 2, "uint2")
    INT2 = (26, "i2", 2, "int2")
    FLOAT6E2M3 = (27, "f6e2m3", 6, "float6_e2m3fn")
    FLOAT6E3M2 = (28, "f6e3m2", 6, "float6_e3m2fn")

    def __init__(self, code: int, short: str, bits: int, numpy_name: str) -> None:
        # Plain attributes: these are asked for very often, and an Enum's ``value`` is slow.
        self.code = code
        """The number that ONNX's TensorProto.DataType gives this dtype."""
        self.short = short
        """The name used in the text form of the IR: ``f32``, ``i64``, ``bf16`` ..."""
        self.bits = bits
        """Bits of one element as ONNX stores it; 0 for strings."""
        self.numpy_name = numpy_name
        self.onnx_name = {"FLOAT32": "float", "FLOAT64": "double"}.get(self.name, self.name.lower())
        """The name in ONNX type strings, as in ``tensor(float)``: ``float``, ``int64``, ``bfloat16`` ..."""
        self.is_float = self.name.startswith(("FLOAT", "BFLOAT"))
        self.is_integer = self.name.startswith(("INT", "UINT"))

    __hash__ = object.__hash__

    @cached_property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of arrays of this type (``ml_dtypes`` for the small floats and integers)."""
        import numpy as np

        name = self.numpy_name
        if name in _PLAIN_NUMPY:
            return np.dtype(name)
        import ml_dtypes

        found: np.dtype = np.dtype(getattr(ml_dtypes, name))
        return found

    @classmethod
    def from_code(cls, code: int) -> DType:
        """The dtype of an ONNX TensorProto.DataType number; KeyError when there is none."""
        return _BY_CODE[code]

    @classmethod
    def from_short(cls, short: str) -> DType:
        """The dtype of a short name (``f32``); KeyError when there is none."""
        return _BY_SHORT[short]

    @classmethod
    def from_name(cls, name: str) -> DType:
        """The dtype of an ONNX or NumPy name (``float``, ``float32``, ``bfloat16``); KeyError when there is none."""
        return _BY_NAME[name]

    @classmethod
    def of(cls, dtype: np.dtype) -> DType:
        """The dtype of a NumPy dtype; strings and objects are STRING. TypeError when ONNX has no such type."""
        known = _BY_NUMPY.get(dtype)
        if known is None:
            if dtype.kind in "OSUT":
                return cls.STRING
            try:
                known = _BY_NUMPY_NAME[dtype.name]
            except KeyError:
                raise TypeError(f"ONNX has no element type for NumPy dtype {dtype}") from None
            _BY_NUMPY[dtype] = known
        return known

    def __repr__(self) -> str:
        return self.short


_PLAIN_NUMPY = {
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "object", "complex64", "complex128",
}  # fmt: skip
_BY_CODE = {d.code: d for d in DType}
_BY_SHORT = {d.short: d for d in DType}
_BY_NUMPY_NAME = {d.numpy_name: d for d in DType}
_BY_NUMPY: dict[np.dtype, DType] = {}  # filled as dtypes are met: asking NumPy for a dtype's name is slow
_BY_NAME = {**_BY_NUMPY_NAME, **{d.onnx_name: d for d in DType}}


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor type: dtype (None while unknown) and shape (None for unknown rank; a None dim is unknown)."""

    dtype: DType | None
    shape: Shape | None = None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        """Whether every dim is a plain integer."""
        if self.shape is None:
            return False
        for d in self.shape:  # noqa: SIM110  # asked for very often: a generator costs more than the loop
            if not isinstance(d, int):
                return False
        return True

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape as integers; ValueError when it is not static."""
        if self.shape is None or not self.is_static:
            raise ValueError(f"shape of {self} is not static")
        return tuple(d for d in self.shape if isinstance(d, int))

    @property
    def size(self) -> int:
        """Number of elements of a static shape; ValueError otherwise."""
        n = 1
        for d in self.static_shape:
            n *= d
        return n

    def with_shape(self, shape: Iterable[Dim] | None) -> TensorType:
        return TensorType(self.dtype, None if shape is None else tuple(shape))

    def __str__(self) -> str:
        dtype = "?" if self.dtype is None else self.dtype.short
        return f"{dtype}[*]" if self.shape is None else f"{dtype}{format_shape(self.shape)}"


@dataclass(frozen=True, slots=True)
class SequenceType:
    """A sequence of values of one type."""

    element: Type | None

    def __str__(self) -> str:
        return f"seq({'?' if self.element is None else self.element})"


@dataclass(frozen=True, slots=True)
class OptionalType:
    """A value that may be absent."""

    element: Type | None

    def __str__(self) -> str:
        return f"opt({'?' if self.element is None else self.element})"


@dataclass(frozen=True, slots=True)
class MapType:
    """A mapping from int64 or string keys to values of one type."""

    key: DType
    value: Type | None

    def __str__(self) -> str:
        return f"map({self.key.short}, {'?' if self.value is None else self.value})"


@dataclass(frozen=True, slots=True)
class SparseTensorType:
    """A sparse tensor (COO); accepted as a declared type only."""

    dtype: DType | None
    shape: Shape | None = None

    def __str__(self) -> str:
        inner = TensorType(self.dtype, self.shape)
        return f"sparse({inner})"


Type = TensorType | SequenceType | OptionalType | MapType | SparseTensorType
