"""What a provider author imports: the contract, and the kernel door. Imports neither onnx nor numba."""

from ronn.provider.contract import (
    API_VERSION,
    Allocator,
    Call,
    CompiledPart,
    Device,
    No,
    Part,
    Provider,
    Support,
    Unavailable,
    Yes,
)
from ronn.provider.kernels import Kernel, KernelContext, KernelProvider, KernelSet, kernel, without

__all__ = [
    "API_VERSION",
    "Allocator",
    "Call",
    "CompiledPart",
    "Device",
    "Kernel",
    "KernelContext",
    "KernelProvider",
    "KernelSet",
    "No",
    "Part",
    "Provider",
    "Support",
    "Unavailable",
    "Yes",
    "kernel",
    "without",
]
