"""OrtValue and OrtDevice: tensors of the host, sequences and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn import dlpack
from ronn.compat.onnxruntime.enums import OrtDeviceVendorId
from ronn.ir.types import DType

DEVICES = ("cpu", "cuda", "cann", "dml", "webgpu", "gpu", "npu")
ONLY_ARRAYS = "Creation of OrtValues is currently only supported from non-string numpy arrays"
NO_MEMORY = (
    "Can't allocate memory on the device using this package of OnnxRuntime. Please use the appropriate package of "
    "OnnxRuntime for your hardware to use this feature."
)


def check_device(device_type: str) -> None:
    """RuntimeError for a device that is not the host."""
    if device_type.lower() not in DEVICES:
        raise Exception(f"Unsupported device type: {device_type}")
    if device_type.lower() != "cpu":
        raise RuntimeError(NO_MEMORY)


def dtype_of(element_type: Any) -> DType:
    """The dtype of a NumPy type, its name, or ONNX's number."""
    if isinstance(element_type, (int, np.integer)) and not isinstance(element_type, bool):
        try:
            return DType.from_code(int(element_type))
        except KeyError:
            raise RuntimeError(f"{element_type} is no ONNX element type") from None
    try:
        return DType.of(np.dtype(element_type))
    except TypeError:
        raise RuntimeError("Not a valid numpy type") from None


class _Memory:
    """Memory at an address, for NumPy."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__array_interface__ = {"data": (address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3}


def at_address(address: int, dtype: DType, shape: Sequence[int]) -> np.ndarray:
    """The array that lies at an address: no copy, and nothing keeps the memory alive."""
    size = int(np.prod(shape, dtype=np.int64))
    if dtype is DType.STRING:
        raise RuntimeError("Only binding of non-string Tensors is currently supported")
    if size == 0:
        return np.empty(tuple(shape), dtype.numpy)
    if address == 0:
        raise RuntimeError(f"The address of {dtype.onnx_name}{list(shape)} is null")
    return np.asarray(_Memory(address, size * dtype.numpy.itemsize)).view(dtype.numpy).reshape(tuple(shape))


class OrtDevice:
    """A device: type ("cpu") and number."""

    def __init__(self, device_type: str, device_id: int = 0) -> None:
        self._type = device_type
        self._id = device_id

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        if ort_device_name.lower() not in DEVICES:
            raise Exception(f"Unsupported device type: {ort_device_name}")
        return OrtDevice(ort_device_name.lower(), device_id)

    def device_id(self) -> int:
        return self._id

    def device_type(self) -> int:
        return {"cpu": 0, "npu": 2}.get(self._type, 1)

    def device_vendor_id(self) -> int:
        return int(OrtDeviceVendorId.NONE)


class OrtValue:
    """A value of a session: a tensor (an array), a sequence (a list) or a map (a dict), in the host's memory."""

    def __init__(self, value: Any) -> None:
        self._data: Any = value._data if isinstance(value, OrtValue) else value

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: np.ndarray, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        """A tensor on the array's own memory (a copy of one that is not contiguous)."""
        check_device(device_type)
        if not isinstance(numpy_obj, np.ndarray) or numpy_obj.dtype.kind in "OSUT":
            raise RuntimeError(ONLY_ARRAYS)
        dtype_of(numpy_obj.dtype)
        return cls(np.ascontiguousarray(numpy_obj) if numpy_obj.ndim else numpy_obj)

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: np.ndarray, /, onnx_element_type: int) -> OrtValue:
        """A tensor on the array's memory, whose elements are taken as another type of the same size."""
        if not isinstance(data, np.ndarray) or data.dtype.kind in "OSUT":
            raise RuntimeError(ONLY_ARRAYS)
        dtype = dtype_of(onnx_element_type)
        if dtype.numpy.itemsize != data.dtype.itemsize:
            raise RuntimeError(
                f"Items size in the incoming array: {data.dtype.itemsize} specified by onnxtype: {dtype.numpy.itemsize}"
            )
        array = np.ascontiguousarray(data) if data.ndim else data
        return cls(array.view(dtype.numpy))

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int = -1,
        memory_info: Any = None,
    ) -> OrtValue:
        """A tensor of its own memory, whose elements are not set."""
        check_device(device_type)
        dtype = dtype_of(element_type)
        if dtype is DType.STRING:
            raise RuntimeError(ONLY_ARRAYS)
        return cls(np.empty(tuple(int(d) for d in shape), dtype.numpy))

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """A tensor on the memory of anything that gives a DLPack capsule."""
        return cls(dlpack.read(data))

    def _get_c_value(self) -> OrtValue:
        return self

    @property
    def _ortvalue(self) -> OrtValue:
        return self

    def _tensor(self) -> np.ndarray:
        if not isinstance(self._data, np.ndarray):
            raise RuntimeError("Only OrtValues that are Tensors are currently supported")
        return self._data

    def data_ptr(self) -> int:
        """The address of the first element."""
        array = self._tensor()
        if array.dtype == object:
            raise RuntimeError("Only non-string tensors have an address of their elements")
        return int(array.ctypes.data)

    def device_name(self) -> str:
        return "cpu"

    def shape(self) -> list[int]:
        return list(self._tensor().shape)

    def data_type(self) -> str:
        """``tensor(float)``, ``seq(tensor(int64))``, ``map(string,tensor(float))`` ..."""
        return _type_of(self._data)

    def element_type(self) -> int:
        """ONNX's number of the element type."""
        return DType.of(self._tensor().dtype).code

    def tensor_size_in_bytes(self) -> int:
        return int(self._tensor().nbytes)

    def has_value(self) -> bool:
        return self._data is not None

    def is_tensor(self) -> bool:
        return isinstance(self._data, np.ndarray)

    def is_sparse_tensor(self) -> bool:
        return False

    def is_tensor_sequence(self) -> bool:
        return isinstance(self._data, list)

    def numpy(self) -> np.ndarray:
        """The array itself; of ``ml_dtypes`` where NumPy has no such type."""
        return self._tensor()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._tensor(), dtype=dtype, copy=copy)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """A capsule on the tensor's memory, or on a copy where one is asked for."""
        array = self._tensor()
        return dlpack.capsule(array.copy() if copy else array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def update_inplace(self, data: np.ndarray) -> None:
        """Puts other elements in. RuntimeError when the array has another type or number of elements."""
        array = self._tensor()
        if data.size != array.size:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        if data.dtype != array.dtype:
            raise RuntimeError(f"The array is {data.dtype}, the OrtValue {array.dtype}")
        array[...] = data.reshape(array.shape)


def _type_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"tensor({DType.of(value.dtype).onnx_name})"
    if isinstance(value, Mapping):
        key, element = next(iter(value.items()), (0, 0.0))
        inner = "string" if isinstance(element, str) else "int64" if isinstance(element, (int, np.integer)) else "float"
        return f"map({'string' if isinstance(key, str) else 'int64'},tensor({inner}))"
    if isinstance(value, list):
        return f"seq({_type_of(value[0]) if value else 'tensor(float)'})"
    raise RuntimeError("The OrtValue holds nothing")


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None) -> None:
    """Copies the elements of each source into its destination."""
    if len(src) != len(dst):
        raise RuntimeError("There must be as many destinations as sources")
    for source, target in zip(src, dst, strict=True):
        target.update_inplace(source.numpy())
