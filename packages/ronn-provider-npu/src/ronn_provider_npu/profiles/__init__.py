"""What accelerators can do, in TOML files: profiles, and what follows from them for claims and kernels."""

from ronn_provider_npu.profiles.profile import (
    DeviceProfile,
    MatrixUnit,
    Memory,
    Operators,
    Power,
    Rates,
    Transfer,
    VectorUnit,
    shipped_names,
)

__all__ = [
    "DeviceProfile", "MatrixUnit", "Memory", "Operators", "Power", "Rates", "Transfer", "VectorUnit", "shipped_names",
]  # fmt: skip
