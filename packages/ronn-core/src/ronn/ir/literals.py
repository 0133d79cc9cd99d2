"""Text of names, strings and tensor elements in the printed IR, and the digests that stand for large tensors."""

from __future__ import annotations

import hashlib
import json
import re
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.ir.types import DType

MAX_INLINE = 16  # elements of a tensor that are printed one by one
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


def quote(text: str) -> str:
    """``text`` as a JSON string; ASCII only where it cannot be encoded otherwise."""
    plain = json.dumps(text, ensure_ascii=False)
    try:
        plain.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return plain


def format_name(name: str) -> str:
    """A name as it is where it looks like one, else quoted."""
    return name if NAME.fullmatch(name) else quote(name)


def content_hash(array: np.ndarray) -> str:
    """16 hex digits that stand for dtype, shape and elements of an array."""
    known = _hashes.get(id(array))
    if known is not None and known[0]() is array:
        return known[1]
    digest = hashlib.blake2b(f"{DType.of(array.dtype).short}{array.shape}".encode(), digest_size=8)
    if array.dtype.kind in "OSUT":
        digest.update("\0".join(map(repr, array.reshape(-1).tolist())).encode("utf-8", "surrogatepass"))
    else:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    text = digest.hexdigest()
    if not array.flags.writeable:
        key = id(array)
        _hashes[key] = (weakref.ref(array, lambda _: _hashes.pop(key, None)), text)
    return text


_hashes: dict[int, tuple[weakref.ref[np.ndarray], str]] = {}


def format_elements(array: np.ndarray) -> str:
    """The elements in row-major order, each so that it reads back bit for bit: ``1.0, 2.5``."""
    dtype = DType.of(array.dtype)
    return ", ".join(_format_element(array.reshape(-1)[i : i + 1], dtype) for i in range(array.size))


def _format_element(cell: np.ndarray, dtype: DType) -> str:
    item: Any = cell[0]
    if dtype is DType.STRING:
        return repr(item) if isinstance(item, bytes) else quote(str(item))
    if dtype is DType.BOOL:
        return "true" if item else "false"
    if dtype.is_integer:
        return str(int(item))
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        text = f"{float(item.real)!r}:{float(item.imag)!r}"
    elif dtype is DType.FLOAT32 and np.isfinite(item):
        text = _with_point(str(item))
        if np.float32(float(text)) != item:
            text = repr(float(item))
    else:
        text = repr(float(item))
    if parse_element(text, dtype).tobytes() != cell.tobytes():
        text = "0x" + cell.tobytes().hex()
    return text


def _with_point(text: str) -> str:
    return text if any(c in text for c in ".en") else text + ".0"


def parse_element(text: str, dtype: DType) -> np.ndarray:
    """The array of one element that ``text`` stands for (not for strings). ValueError when it stands for none."""
    if text.startswith("0x"):
        raw = bytes.fromhex(text[2:])
        if len(raw) != dtype.numpy.itemsize:
            raise ValueError(f"{text} is not one {dtype.short}")
        return np.frombuffer(raw, dtype.numpy)
    if dtype is DType.BOOL:
        return np.array([{"true": True, "false": False}[text]])
    if dtype.is_integer:
        number = int(text)
        half = 1 << (dtype.bits - 1)
        low, high = (-half, half - 1) if dtype.name.startswith("INT") else (0, 2 * half - 1)
        if not low <= number <= high:
            raise ValueError(f"{number} does not fit {dtype.short}")
        return np.array([number]).astype(dtype.numpy) if number < 1 << 63 else np.array([number], dtype.numpy)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        real, _, imag = text.partition(":")
        return np.array([complex(float(real), float(imag))], dtype.numpy)
    with np.errstate(all="ignore"):
        return np.array([float(text)]).astype(dtype.numpy)


def join_elements(cells: Sequence[Any], dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """The array of ``shape`` made of parsed elements (one-element arrays; str or bytes for strings)."""
    if dtype is DType.STRING:
        array = np.empty(len(cells), dtype=object)
        array[:] = cells
    else:
        array = np.concatenate(cells) if cells else np.empty(0, dtype.numpy)
    array = array.reshape(shape)
    array.flags.writeable = False
    return array
