"""Arrays as bytes: the .npy format, without pickle; and text and bfloat16, which that format does not have."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn_hrm.errors import StateError

_MAGIC = b"\x93NUMPY"
_TEXT = b"text"  # then JSON: [shape, flat list of strings]
_VIEW = b"view"  # then a line with the dtype's name, then .npy of its bits as unsigned integers


def to_bytes(array: np.ndarray) -> bytes:
    """``array`` in C order: .npy; object arrays of str, and dtypes of ``ml_dtypes``, in a form of our own."""
    dtype = array.dtype
    if dtype.kind in "bifcuSUmM":
        return _header(dtype, array.shape) + array.tobytes()
    if dtype.kind == "T" or dtype.hasobject:
        flat = array.astype(object).reshape(-1).tolist()
        if dtype.names is not None or not all(isinstance(value, str) for value in flat):
            raise OptionError(f"an array of {dtype} that holds other things than str cannot be kept in memory")
        return _TEXT + json.dumps([list(array.shape), flat]).encode()
    if dtype.names is None and dtype.subdtype is None and dtype.itemsize in (1, 2) and dtype.name.isidentifier():
        bits = np.ascontiguousarray(array).view(f"u{dtype.itemsize}").reshape(array.shape)
        return _VIEW + dtype.name.encode() + b"\n" + to_bytes(bits)
    raise OptionError(f"an array of {dtype} cannot be kept in memory")


def from_bytes(data: bytes) -> np.ndarray:
    """What ``to_bytes`` was given, read-only. StateError where the bytes are nothing of the kind."""
    try:
        if data.startswith(_MAGIC):
            return _from_npy(data)
        if data.startswith(_TEXT):
            shape, flat = json.loads(data[len(_TEXT) :])
            text = np.empty(len(flat), object)
            text[:] = flat
            text = text.reshape(shape)
            text.flags.writeable = False
            return text
        if data.startswith(_VIEW):
            name, _, rest = data[len(_VIEW) :].partition(b"\n")
            return _from_npy(rest).view(_small_dtype(name.decode()))
    except Exception as e:  # of whatever NumPy, JSON and Python's tokenizer make of damaged bytes
        raise StateError(f"an array in memory cannot be read: {e}", hint="the file is damaged; forget it") from e
    raise StateError("an array in memory cannot be read: unknown format", hint="the file is damaged; forget it")


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays: a line of JSON (names and lengths), then each as ``to_bytes`` gives it."""
    parts = [to_bytes(array) for array in arrays.values()]
    head = json.dumps([[name, len(part)] for name, part in zip(arrays, parts, strict=True)])
    return b"".join((head.encode(), b"\n", *parts))


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What ``pack`` was given, read-only."""
    head, _, rest = data.partition(b"\n")
    try:
        lengths = [(str(name), int(length)) for name, length in json.loads(head)]
    except (ValueError, TypeError, RecursionError) as e:
        raise StateError(f"arrays in memory cannot be read: {e}", hint="the file is damaged; forget it") from e
    if any(length < 0 for _, length in lengths) or sum(length for _, length in lengths) != len(rest):
        raise StateError("arrays in memory cannot be read: cut short", hint="the file is damaged; forget it")
    found: dict[str, np.ndarray] = {}
    start = 0
    for name, length in lengths:
        found[name] = from_bytes(rest[start : start + length])
        start += length
    return found


@lru_cache(maxsize=256)
def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def _from_npy(data: bytes) -> np.ndarray:
    if len(data) < 10 or data[6:8] != b"\x01\x00":
        return _from_other_npy(data)
    start = 10 + int.from_bytes(data[8:10], "little")
    dtype, shape, count = _parsed(data[:start])
    if len(data) - start != count * dtype.itemsize:
        raise ValueError(f"{len(data) - start} bytes of elements where {count * dtype.itemsize} are declared")
    return np.frombuffer(data, dtype, count, start).reshape(shape)


def _from_other_npy(data: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    array.flags.writeable = False
    return array


@lru_cache(maxsize=256)
def _parsed(head: bytes) -> tuple[np.dtype, tuple[int, ...], int]:
    """Dtype, shape and element count of a header of version 1.0."""
    stream = io.BytesIO(head)
    np.lib.format.read_magic(stream)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an object array, which only pickle could read")
    if fortran and len(shape) > 1:
        raise ValueError("elements in Fortran order")
    count = 1
    for length in shape:
        count *= length
    return dtype, shape, count


def _small_dtype(name: str) -> Any:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))
