"""``NpuProvider``: OpenCL devices."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.passes.deferred import about
from ronn.provider.contract import CachedFile, Device
from ronn.records import replace
from ronn_codegen.clike.provider import ClikeProvider
from ronn_provider_npu import discovery
from ronn_provider_npu.device import NpuDevice, held_to, usual_profile
from ronn_provider_npu.profiles import DeviceProfile
from ronn_provider_npu.profiles.claims import PRODUCTS, refusal, unfit

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn.passes.manager import Pass
    from ronn_codegen.lowering import Lowering
    from ronn_provider_npu.launcher import OpenCLLauncher


class NpuProvider(ClikeProvider):
    """Runs nodes on an OpenCL device, held to what a profile says.

    Options: ``device`` (a number, a name such as ``opencl:1``, or part of what `ronn providers` says of one; None: the
    first), ``profile`` (the name of one that is shipped, or the path of a TOML file; empty: ``pocl-cpu`` on
    processors, ``opencl-gpu`` on all else), ``calibration`` (for a profile that multiplies int8 only: a file or folder
    of inputs, with which a float model is quantised when a session is made).
    """

    name: ClassVar[str] = "npu"
    options: ClassVar[Mapping[str, Any]] = {"device": None, "profile": "", "calibration": ""}

    def devices(self) -> Sequence[Device]:
        return [NpuDevice(f.name, f.description, profile=usual_profile(f.is_cpu)) for f in discovery.usable()]

    def unusable(self) -> Mapping[str, str]:
        return discovery.unusable()

    def device_for(self, options: Mapping[str, Any], devices: Sequence[Device]) -> Device:
        discovery.check()
        device = discovery.choose(options["device"], devices)
        assert isinstance(device, NpuDevice)
        return replace(device, profile=DeviceProfile.of(options["profile"])) if options["profile"] else device

    def refusal(self, node: Node, device: Device) -> str:
        return refusal(node, profile_of(device)) or super().refusal(node, device)

    def unfit(self, c: Lowering, device: Device) -> str:
        return unfit(c, profile_of(device))

    def launcher(self, device: Device, options: Mapping[str, Any]) -> OpenCLLauncher:
        return _launcher(device.name, profile_of(device))

    def passes(self, device: Device) -> Sequence[Pass]:
        if not profile_of(device).int8_only:
            return super().passes(device)
        return (about("ronn_provider_npu.passes", "quantise-int8", " ".join(PRODUCTS)), *super().passes(device))

    def cached_files(self) -> Sequence[CachedFile]:
        from ronn_provider_npu.cache import cached_files
        from ronn_provider_npu.quantize.kept import kept_files

        return [*cached_files(discovery.known()), *kept_files()]

    def check_cached(self, file: CachedFile) -> str:
        from ronn_provider_npu import cache
        from ronn_provider_npu.quantize import kept

        return (kept if file.path.suffix == ".onnx" else cache).problem(file.path)


def profile_of(device: Device) -> DeviceProfile:
    """What a device is held to."""
    assert isinstance(device, NpuDevice)
    return device.profile


_launchers: dict[tuple[str, DeviceProfile], OpenCLLauncher] = {}
_lock = threading.Lock()


def _launcher(name: str, profile: DeviceProfile) -> OpenCLLauncher:
    """The launcher of a device that is held to a profile; a new one where the device was lost."""
    found = _launchers.get((name, profile))
    if found is None or found.lost is not None:
        from ronn_provider_npu.launcher import OpenCLLauncher, target_of

        with _lock:
            found = _launchers.get((name, profile))
            if found is None or found.lost is not None:
                device = discovery.device_of(name)
                transfer = profile.transfer
                found = OpenCLLauncher(
                    device,
                    held_to(target_of(device), profile),
                    staging=transfer.chunk if transfer.double_buffering else None,
                )
                _launchers[name, profile] = found
    return found


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
