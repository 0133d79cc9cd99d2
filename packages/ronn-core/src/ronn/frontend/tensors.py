"""TensorProto to read-only NumPy array: every element type, raw, typed, external and sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ronn.frontend import limits
from ronn.frontend.limits import DEFAULTS, Limits
from ronn.frontend.names import text
from ronn.ir.types import DType
from ronn.mapped import MIN_MAPPED, file_of

if TYPE_CHECKING:
    import onnx

_EXTERNAL = 1  # TensorProto.EXTERNAL

# Where TensorProto keeps the elements of a type when not in raw_data; int32_data for the rest.
_FIELDS = {
    DType.FLOAT32: "float_data", DType.COMPLEX64: "float_data", DType.FLOAT64: "double_data",
    DType.COMPLEX128: "double_data", DType.INT64: "int64_data", DType.UINT32: "uint64_data",
    DType.UINT64: "uint64_data", DType.STRING: "string_data",
}  # fmt: skip
_SIGNED = {DType.INT4: 8, DType.INT2: 2}


class External(Protocol):
    """Gives the bytes of a tensor that lie in another file. ValueError when they cannot be had."""

    def __call__(self, entries: dict[str, str], nbytes: int) -> np.ndarray: ...


class TensorReader:
    """Reads tensors of one file. Every problem is a ``ValueError`` that says what is wrong with the tensor."""

    def __init__(self, external: External, bounds: Limits = DEFAULTS) -> None:
        self.external = external
        self.bounds = bounds

    def read(self, tensor: onnx.TensorProto, raw: Callable[[], np.ndarray | None] = lambda: None) -> np.ndarray:
        """The tensor as a read-only array, a view of the stored bytes where their layout allows it.

        ``raw`` gives the tensor's ``raw_data`` where the proto was parsed without it.
        """
        try:
            dtype = DType.from_code(tensor.data_type)
        except KeyError:
            raise ValueError(f"element type {tensor.data_type} is unknown") from None
        if tensor.HasField("segment"):
            raise ValueError("tensor is stored in segments, which nobody writes or reads")
        dims = tuple(tensor.dims)
        count = limits.element_count(dims)
        nbytes = (count * dtype.bits + 7) // 8
        unpacked = sum(map(len, tensor.string_data)) if dtype is DType.STRING else count * dtype.numpy.itemsize
        self.bounds.check_tensor(unpacked)
        if tensor.data_location == _EXTERNAL:
            if dtype is DType.STRING:
                raise ValueError("strings cannot be stored in an external file")
            entries = {text(e.key): text(e.value) for e in tensor.external_data}
            array = decode(self.external(entries, nbytes), dtype, count)
        elif dtype is DType.STRING:
            array = _strings(tensor.string_data, count)
        elif (stored := raw()) is not None or tensor.HasField("raw_data"):
            data = tensor.raw_data if stored is None else stored
            if len(data) != nbytes:
                raise ValueError(f"has {len(data)} bytes of data, but {list(dims)} of {dtype.onnx_name} takes {nbytes}")
            array = decode(data, dtype, count)
        else:
            array = _typed(tensor, dtype, count)
        array = array.reshape(dims)
        array.flags.writeable = False
        return array

    def read_sparse(self, sparse: onnx.SparseTensorProto) -> np.ndarray:
        """A sparse tensor (COO) as a dense read-only array."""
        values = self.read(sparse.values)
        indices = self.read(sparse.indices)
        dims = tuple(sparse.dims)
        count = limits.element_count(dims)
        if count * max(values.itemsize, 1) > limits.MAX_SPARSE_BYTES:
            raise ValueError(f"sparse tensor of dims {list(dims)} is above {limits.MAX_SPARSE_BYTES} bytes when dense")
        self.bounds.check_tensor(count * values.itemsize)
        if values.ndim != 1 or indices.dtype != np.int64:
            raise ValueError("sparse tensor needs values of rank 1 and int64 indices")
        if indices.ndim == 1 and len(indices) == len(values):
            flat = indices
            if flat.size and (flat.min() < 0 or flat.max() >= count):
                raise ValueError(f"sparse tensor has an index outside {list(dims)}")
        elif indices.shape == (len(values), len(dims)):
            if indices.size and ((indices < 0).any() or (indices >= np.array(dims)).any()):
                raise ValueError(f"sparse tensor has an index outside {list(dims)}")
            flat = np.zeros(len(values), np.int64)
            for axis, d in enumerate(dims):
                flat = flat * d + indices[:, axis]
        else:
            raise ValueError(f"sparse tensor has {len(values)} values but indices of shape {list(indices.shape)}")
        blank: Any = "" if values.dtype == object else 0
        dense = np.full(count, blank, values.dtype)
        dense[flat] = values
        dense = dense.reshape(dims)
        dense.flags.writeable = False
        return dense


def decode(raw: bytes | np.ndarray, dtype: DType, count: int) -> np.ndarray:
    """``count`` elements from ONNX's little-endian byte layout. A view of ``raw`` for whole-byte elements, if they are
    aligned, or many and in a mapped file."""
    stored = np.frombuffer(raw, np.uint8)
    if dtype.bits < 8:
        return unpack(stored, dtype, count)
    if dtype is DType.BOOL:
        return stored.view(np.bool_) if not stored.size or stored.max() <= 1 else stored != 0
    array = stored.view(dtype.numpy)
    # Types that are not NumPy's own are trusted with aligned elements only.
    may_stay = dtype.numpy.isbuiltin == 1 and array.nbytes >= MIN_MAPPED and file_of(stored) is not None
    return array if array.flags.aligned or may_stay else array.copy()


def unpack(stored: np.ndarray, dtype: DType, count: int) -> np.ndarray:
    """Elements of 2, 4 or 6 bits, packed from the low bits up, one to a byte of an ``ml_dtypes`` array."""
    bits = dtype.bits
    if bits == 6:
        return _unpack6(stored, count).view(dtype.numpy)
    per_byte = 8 // bits
    out = np.empty((stored.size, per_byte), np.uint8)
    for i in range(per_byte):
        np.right_shift(stored, i * bits, out=out[:, i])
    out &= (1 << bits) - 1
    flat = out.reshape(-1)[:count]
    sign = _SIGNED.get(dtype)
    if sign is not None:
        flat = ((flat ^ sign).view(np.int8) - np.int8(sign)).view(np.uint8)
    return np.asarray(flat.view(dtype.numpy))


def _unpack6(stored: np.ndarray, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    groups = (count + 3) // 4
    padded = np.zeros(groups * 3, np.uint8)
    padded[: stored.size] = stored
    a, b, c = (padded.reshape(groups, 3)[:, i].astype(np.uint32) for i in range(3))
    word = a | (b << 8) | (c << 16)
    out = np.stack([(word >> shift) & 0x3F for shift in (0, 6, 12, 18)], axis=1)
    return out.astype(np.uint8).reshape(-1)[:count]


def _typed(tensor: onnx.TensorProto, dtype: DType, count: int) -> np.ndarray:
    field = _FIELDS.get(dtype, "int32_data")
    data: Sequence[Any] = getattr(tensor, field)
    per_entry = 8 // dtype.bits if dtype.bits in (2, 4) else 1
    entries = (count + per_entry - 1) // per_entry * (2 if dtype.numpy.kind == "c" else 1)
    if len(data) != entries:
        raise ValueError(f"has {len(data)} numbers in {field}, but {entries} are needed for {list(tensor.dims)}")
    match field:
        case "float_data":
            return np.array(data, np.float32).view(dtype.numpy)
        case "double_data":
            return np.array(data, np.float64).view(dtype.numpy)
        case "int64_data":
            return np.array(data, np.int64)
        case "uint64_data":
            return np.array(data, np.uint64).astype(dtype.numpy)
    words = np.array(data, np.int32)
    if dtype is DType.INT32:
        return words
    if dtype is DType.BOOL:
        return np.asarray(words != 0)
    if dtype.bits in (2, 4):
        return unpack(words.astype(np.uint8), dtype, count)
    if dtype.bits == 6:
        return (words.astype(np.uint8) & 0x3F).view(dtype.numpy)
    unsigned = words.astype(np.uint16 if dtype.bits == 16 else np.uint8)
    return unsigned.view(dtype.numpy)


def _strings(data: Sequence[bytes], count: int) -> np.ndarray:
    if len(data) != count:
        raise ValueError(f"has {len(data)} strings, but {count} are needed")
    out = np.empty(count, object)
    out[:] = [string(s) for s in data]
    return out


def string(data: bytes) -> str:
    """Bytes of a string tensor as str; bytes that are not UTF-8 become lone surrogates, which can be turned back."""
    return data.decode("utf-8", "surrogateescape")
