"""``PaperProvider``: claims and lowers as the provider does on a device that has all that a profile says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.provider.contract import Device
from ronn_codegen import fuse
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.provider import lower_group
from ronn_provider_npu.device import NpuDevice, held_to
from ronn_provider_npu.provider import NpuProvider, profile_of

if TYPE_CHECKING:
    from ronn.provider.contract import Part
    from ronn_codegen.lowering import Lowering
    from ronn_provider_npu.profiles import DeviceProfile


class PaperProvider(NpuProvider):
    """Compiles nothing: it says what would run, and as which kernels."""

    name: ClassVar[str] = "npu"

    def devices(self) -> Sequence[Device]:
        return ()

    def held_to(self, profile: DeviceProfile) -> NpuDevice:
        """The device that a profile describes."""
        return NpuDevice(profile.name, profile.description, profile=profile)

    def target(self, device: Device, options: Mapping[str, Any]) -> Target:
        profile = profile_of(device)
        whole = Target(OpenCL(), group=profile.vector.group, local_bytes=profile.kernel_bytes)
        return held_to(whole, profile)

    def lowered(self, part: Part, device: Device) -> list[Lowering]:
        """A part as what would run, in order."""
        context = self.context(self.target(device, self.options), self.options)
        return [c for group in fuse.groups(part, context) for c in lower_group(group, context)]
