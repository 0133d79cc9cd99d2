"""DLPack for the dtypes that NumPy does not exchange: bfloat16 and the floats of eight bits (``ml_dtypes``).

tensor = torch.from_dlpack(ronn.dlpack.Shared(outputs["y"]))     # y is bfloat16
"""

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

_UNSIGNED = 1
_CODE_AT = 20  # bytes from the start of a DLTensor: data, device type, device id and ndim come before
_TENSOR_AT = {b"dltensor": 0, b"dltensor_versioned": 32}  # version, context, deleter and flags come before


class Shared:
    """The memory of an array of any dtype that DLPack has, for ``from_dlpack`` of other libraries. No copy is made."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A capsule on the array's memory, or on that of a copy where one is asked for."""
        return capsule(self._array.copy() if copy else self._array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def capsule(array: np.ndarray) -> Any:
    """A capsule that shares the array's memory. BufferError for a dtype that DLPack lacks."""
    code = CODES.get(DType.of(array.dtype))
    if code is None:
        return array.__dlpack__()
    made = array.view(np.dtype(f"u{array.dtype.itemsize}")).__dlpack__()
    _code_of(made).value = code
    return made


def read(value: Any) -> np.ndarray:
    """An array on the memory of anything that has ``__dlpack__``. What that, or NumPy, raises for what cannot be read
    comes through."""
    try:
        return np.from_dlpack(value)
    except (RuntimeError, BufferError):
        made = _capsule_of(value)
        code = _code_of(made)
        dtype = next((d for d, number in CODES.items() if number == code.value), None)
        if dtype is None:
            raise
        code.value = _UNSIGNED
        return np.from_dlpack(_Made(made, value.__dlpack_device__())).view(dtype.numpy)


class _Made:
    """A capsule that is there already, for NumPy."""

    def __init__(self, made: Any, device: tuple[int, int]) -> None:
        self._made, self._device = made, device

    def __dlpack__(self, **_: Any) -> Any:
        return self._made

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


def _capsule_of(value: Any) -> Any:
    try:
        return value.__dlpack__(max_version=(1, 0))
    except TypeError:  # made before DLPack had versions
        return value.__dlpack__()


def _code_of(made: Any) -> ctypes.c_uint8:
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    name = api.PyCapsule_GetName(made)
    pointer = api.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_uint8.from_address(pointer(made, name) + _TENSOR_AT[name] + _CODE_AT)
