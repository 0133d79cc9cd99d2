"""DLPack capsules of arrays whose dtype NumPy does not export: bfloat16 and the floats of eight bits."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ronn.ir.types import DType

CODES = {
    DType.BFLOAT16: 4, DType.FLOAT8E4M3FN: 10, DType.FLOAT8E4M3FNUZ: 11, DType.FLOAT8E5M2: 12,
    DType.FLOAT8E5M2FNUZ: 13, DType.FLOAT8E8M0: 14,
}  # fmt: skip
"""DLPack's type codes."""

_CODE_AT = 20  # bytes from the start of a DLTensor: data, device type, device id and ndim come before


def capsule(array: np.ndarray) -> Any:
    """A capsule that shares the array's memory. BufferError for a dtype that DLPack lacks."""
    code = CODES.get(DType.of(array.dtype))
    if code is None:
        return array.__dlpack__()
    made = array.view(np.dtype(f"u{array.dtype.itemsize}")).__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(made, b"dltensor")
    ctypes.c_uint8.from_address(address + _CODE_AT).value = code
    return made
