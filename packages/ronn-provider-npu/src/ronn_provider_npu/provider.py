"""``NpuProvider``: OpenCL devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.provider.contract import Device, Unavailable
from ronn.records import replace
from ronn_codegen.clike.provider import ClikeProvider
from ronn_provider_npu.device import NpuDevice, held_to, usual_profile
from ronn_provider_npu.profiles import DeviceProfile
from ronn_provider_npu.profiles.claims import refusal, unfit

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn_codegen.lowering import Lowering
    from ronn_provider_npu.launcher import OpenCLLauncher


class NpuProvider(ClikeProvider):
    """Runs nodes on an OpenCL device, held to what a profile says.

    Options: ``profile`` (the name of one that is shipped, or the path of a TOML file; empty: ``pocl-cpu`` on
    processors, ``opencl-gpu`` on all else).
    """

    name: ClassVar[str] = "npu"
    options: ClassVar[Mapping[str, Any]] = {"profile": ""}

    def devices(self) -> Sequence[Device]:
        try:
            import pyopencl as cl
        except ImportError as e:
            raise Unavailable(f"pyopencl cannot be imported: {e}") from e
        found = [d for p in cl.get_platforms() for d in p.get_devices()]
        if not found:
            raise Unavailable("no OpenCL platform has a device (pip install ronn-provider-npu[pocl] brings one)")
        return [
            NpuDevice(f"opencl:{i}", d.name, profile=usual_profile(bool(d.type & cl.device_type.CPU)))
            for i, d in enumerate(found)
        ]

    def device_for(self, options: Mapping[str, Any], devices: Sequence[Device]) -> Device:
        device = devices[0]
        assert isinstance(device, NpuDevice)
        return replace(device, profile=DeviceProfile.of(options["profile"])) if options["profile"] else device

    def refusal(self, node: Node, device: Device) -> str:
        return refusal(node, profile_of(device)) or super().refusal(node, device)

    def unfit(self, c: Lowering, device: Device) -> str:
        return unfit(c, profile_of(device))

    def launcher(self, device: Device, options: Mapping[str, Any]) -> OpenCLLauncher:
        return _launcher(device.name, profile_of(device))


def profile_of(device: Device) -> DeviceProfile:
    """What a device is held to."""
    assert isinstance(device, NpuDevice)
    return device.profile


@cache
def _launcher(name: str, profile: DeviceProfile) -> OpenCLLauncher:
    import pyopencl as cl

    from ronn_provider_npu.launcher import OpenCLLauncher, target_of

    found = [d for p in cl.get_platforms() for d in p.get_devices()]
    device = found[int(name.partition(":")[2])]
    return OpenCLLauncher(device, held_to(target_of(device), profile))
