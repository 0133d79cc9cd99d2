"""The exceptions and classes that programs import from onnxruntime's compiled module."""

from ronn.compat import onnxruntime as _onnxruntime
from ronn.compat.onnxruntime import *  # noqa: F403
from ronn.compat.onnxruntime.errors import (
    DeviceReset,
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    ModelLoaded,
    ModelRequiresCompilation,
    NoModel,
    NoSuchFile,
    NotFound,
    NotImplemented,
    RuntimeException,
)
from ronn.compat.onnxruntime.iobinding import IOBinding as SessionIOBinding

__all__ = [
    *_onnxruntime.__all__,
    "DeviceReset", "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
    "ModelLoadCanceled", "ModelLoaded", "ModelRequiresCompilation", "NoModel", "NoSuchFile", "NotFound",
    "NotImplemented", "RuntimeException", "SessionIOBinding",
]  # fmt: skip
