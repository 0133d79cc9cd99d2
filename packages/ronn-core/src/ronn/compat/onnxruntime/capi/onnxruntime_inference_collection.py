"""Where onnxruntime defines its sessions."""

from ronn.compat.onnxruntime.enums import OrtDeviceVendorId
from ronn.compat.onnxruntime.iobinding import IOBinding
from ronn.compat.onnxruntime.providers import check_and_normalize_provider_args
from ronn.compat.onnxruntime.session import InferenceSession, Session
from ronn.compat.onnxruntime.values import OrtDevice, OrtValue, copy_tensors

__all__ = [
    "IOBinding", "InferenceSession", "OrtDevice", "OrtDeviceVendorId", "OrtValue", "Session",
    "check_and_normalize_provider_args", "copy_tensors",
]  # fmt: skip
