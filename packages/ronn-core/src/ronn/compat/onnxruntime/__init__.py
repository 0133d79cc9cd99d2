"""onnxruntime's Python interface on RONN: ``import ronn.compat.onnxruntime as onnxruntime``.

Names, arguments, results and exceptions are onnxruntime's; ``docs/migrating-from-onnxruntime.md`` lists what is there,
what differs and what is not offered. What is not offered is absent: asking for it is an AttributeError or ImportError.
"""

from __future__ import annotations

from ronn.compat.onnxruntime.enums import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    OrtAllocatorType,
    OrtDeviceVendorId,
    OrtMemType,
)
from ronn.compat.onnxruntime.environment import (
    __version__,
    disable_telemetry_events,
    enable_telemetry_events,
    get_build_info,
    get_version_string,
    has_collective_ops,
    preload_dlls,
    set_default_logger_severity,
    set_default_logger_verbosity,
    set_seed,
)
from ronn.compat.onnxruntime.iobinding import IOBinding
from ronn.compat.onnxruntime.modelmeta import ModelMetadata, NodeArg
from ronn.compat.onnxruntime.options import RunOptions, SessionOptions
from ronn.compat.onnxruntime.providers import get_all_providers, get_available_providers, get_device
from ronn.compat.onnxruntime.session import InferenceSession
from ronn.compat.onnxruntime.values import OrtDevice, OrtValue, copy_tensors

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtAllocatorType",
    "OrtDevice",
    "OrtDeviceVendorId",
    "OrtMemType",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "__version__",
    "copy_tensors",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "has_collective_ops",
    "preload_dlls",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]
