"""Types of a session's inputs and outputs in NumPy's and PyTorch's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.compat.onnxruntime.modelmeta import NodeArg
from ronn.compat.onnxruntime.session import Session

_NUMPY: dict[str, Any] = {
    "bool": bool, "double": np.float64, "float": np.float32, "float16": np.float16, "int8": np.int8, "int16": np.int16,
    "int32": np.int32, "int64": np.int64, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
    "uint64": np.uint64, "complex64": np.complex64, "complex128": np.complex128,
}  # fmt: skip
_ONLY_TORCH = {
    "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2", "float8e5m2fnuz": "float8_e5m2fnuz",
}  # fmt: skip
_TORCH = {**{k: np.dtype(v).name for k, v in _NUMPY.items()}, **_ONLY_TORCH}


class TypeHelper:
    """Types of inputs and outputs, by name of the value or of the type (``tensor(float)``)."""

    @staticmethod
    def get_input_type(ort_session: Session, name: str) -> str:
        return _type_of("input", name, ort_session.get_inputs())

    @staticmethod
    def get_output_type(ort_session: Session, name: str) -> str:
        return _type_of("output", name, ort_session.get_outputs())

    @staticmethod
    def ort_type_to_numpy_type(ort_type: str) -> Any:
        return _known(_NUMPY, ort_type)

    @staticmethod
    def ort_type_to_torch_type(ort_type: str) -> Any:
        import torch

        return getattr(torch, _known(_TORCH, ort_type))

    @staticmethod
    def get_io_numpy_type_map(ort_session: Session) -> dict[str, Any]:
        """NumPy types of all inputs and outputs by name."""
        args = (*ort_session.get_inputs(), *ort_session.get_outputs())
        return {arg.name: TypeHelper.ort_type_to_numpy_type(arg.type) for arg in args}


def _type_of(kind: str, name: str, args: Sequence[NodeArg]) -> str:
    for arg in args:
        if arg.name == name:
            return arg.type
    raise ValueError(f"{kind} name {name} not found")


def _known(types: dict[str, Any], ort_type: str) -> Any:
    name = ort_type.removeprefix("tensor(").removesuffix(")")
    if name not in types or not ort_type.startswith("tensor("):
        raise ValueError(f"{ort_type} not found in map")
    return types[name]
