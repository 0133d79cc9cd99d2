"""``NpuProvider``: OpenCL devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.provider.contract import Device, Unavailable
from ronn_codegen.clike.provider import ClikeProvider

if TYPE_CHECKING:
    from ronn_provider_npu.launcher import OpenCLLauncher


class NpuProvider(ClikeProvider):
    """Runs nodes on an OpenCL device."""

    name: ClassVar[str] = "npu"

    def devices(self) -> Sequence[Device]:
        try:
            import pyopencl as cl
        except ImportError as e:
            raise Unavailable(f"pyopencl cannot be imported: {e}") from e
        found = [d for p in cl.get_platforms() for d in p.get_devices()]
        if not found:
            raise Unavailable("no OpenCL platform has a device (pip install ronn-provider-npu[pocl] brings one)")
        return [Device(f"opencl:{i}", d.name) for i, d in enumerate(found)]

    def launcher(self, device: Device, options: Mapping[str, Any]) -> OpenCLLauncher:
        return _launcher(device.name)


@cache
def _launcher(name: str) -> OpenCLLauncher:
    import pyopencl as cl

    from ronn_provider_npu.launcher import OpenCLLauncher

    found = [d for p in cl.get_platforms() for d in p.get_devices()]
    return OpenCLLauncher(found[int(name.partition(":")[2])])
