"""What a provider author imports: the contract, and the kernel door. Imports neither onnx nor numba."""

from ronn.families import Families
from ronn.provider.contract import (
    API_VERSION,
    Allocator,
    CachedFile,
    Call,
    CompiledPart,
    Device,
    DeviceMemory,
    Held,
    No,
    Part,
    Provider,
    Support,
    Unavailable,
    Yes,
)
from ronn.provider.kernels import Kernel, KernelContext, KernelProvider, KernelSet, kernel, without
from ronn.provider.native import At, Ceilings, Engine, KernelCall, NativeWork, Scratch, Status

__all__ = [
    "API_VERSION",
    "Allocator",
    "At",
    "CachedFile",
    "Call",
    "Ceilings",
    "CompiledPart",
    "Device",
    "DeviceMemory",
    "Engine",
    "Families",
    "Held",
    "Kernel",
    "KernelCall",
    "KernelContext",
    "KernelProvider",
    "KernelSet",
    "NativeWork",
    "No",
    "Part",
    "Provider",
    "Scratch",
    "Status",
    "Support",
    "Unavailable",
    "Yes",
    "kernel",
    "without",
]
