"""``NpuDevice``: an OpenCL device, held to a profile."""

from __future__ import annotations

from functools import cache

from ronn.provider.contract import Device
from ronn.records import dataclass
from ronn_codegen.clike.kernel import Target
from ronn_provider_npu.profiles import DeviceProfile

OF_PROCESSORS, OF_GPUS = "pocl-cpu", "opencl-gpu"


@dataclass(frozen=True)
class NpuDevice(Device):
    """A device as sessions see it. profile: what it is held to."""

    profile: DeviceProfile = DeviceProfile("")


@cache
def usual_profile(is_cpu: bool) -> DeviceProfile:
    """The profile of devices whose session names none."""
    return DeviceProfile.shipped(OF_PROCESSORS if is_cpu else OF_GPUS)


def held_to(target: Target, profile: DeviceProfile) -> Target:
    """What kernels are made for on a device that is held to a profile. ``target``: what the device tells."""
    return Target(
        target.dialect,
        group=min(target.group, profile.vector.group),
        local_bytes=min(target.local_bytes, profile.kernel_bytes),
        width=min(target.width, profile.vector.width) if profile.vector.width else target.width,
        unit=profile.unit,
        doubles=target.doubles and "float64" in profile.vector.peak,
        compute_units=target.compute_units,
        alignment=max(target.alignment, profile.memory.alignment),
        cached=target.cached and profile.memory.cached,
    )
