"""``CpuProvider``: every ``@kernel`` of the modules of ``ronn_provider_cpu.kernels``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ronn.provider.contract import Device
from ronn.provider.kernels import KernelProvider, KernelSet

if TYPE_CHECKING:
    from ronn.passes.manager import Pass


class CpuProvider(KernelProvider):
    """Runs nodes on the host CPU, in NumPy. A new file in ``kernels/`` is found without being listed anywhere."""

    name: ClassVar[str] = "cpu"
    folds: ClassVar[bool] = True

    def devices(self) -> Sequence[Device]:
        return (Device("cpu", "host CPU, NumPy kernels"),)

    def passes(self, device: Device) -> Sequence[Pass]:
        from ronn_provider_cpu.passes.widen_half import widen_half

        return (widen_half,)

    def kernels(self) -> KernelSet:
        from ronn_provider_cpu import kernels as package

        names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
        modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names if not name.startswith("_")]
        return KernelSet.from_module(*modules)
