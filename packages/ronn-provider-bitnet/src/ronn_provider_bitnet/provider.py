"""``BitnetProvider``: what the CPU provider runs, and weights of a few bits in kernels of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.errors import OptionError
from ronn.families import Families
from ronn.provider.contract import CompiledPart, Device, Part, Support, Yes
from ronn.provider.kernels import KernelSet
from ronn_provider_bitnet.index import KERNELS, LOWERINGS
from ronn_provider_cpu.index import KERNELS as CPU_KERNELS
from ronn_provider_cpu.provider import CpuProvider

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn.passes.manager import Pass

CONVOLUTIONS = ("fast", "small")
NUMPY_KERNELS = Families("ronn_provider_cpu.kernels", CPU_KERNELS)
for _module, _operators in KERNELS.items():
    NUMPY_KERNELS.add(f"ronn_provider_bitnet.numpy_kernels.{_module}", _operators)


@cache
def _make_lowerings_known() -> None:
    from ronn_provider_cpu.lowering import add_lowerings

    for module, operators in LOWERINGS.items():
        add_lowerings(f"ronn_provider_bitnet.lower.{module}", operators)


class BitnetProvider(CpuProvider):
    """Runs whole models on the host CPU as the ``cpu`` provider does, but products with weights of a few bits, which
    its passes find, with kernels that read them as they are: one partition, one native call.

    Options are those of the ``cpu`` provider, and ``convolutions``: ``fast`` (few bits where they are faster than
    float32) or ``small`` (wherever there is a kernel for them).
    """

    name: ClassVar[str] = "bitnet"
    options: ClassVar[Mapping[str, Any]] = {**CpuProvider.options, "convolutions": CONVOLUTIONS[0]}

    def devices(self) -> Sequence[Device]:
        (cpu,) = super().devices()
        return (Device("bitnet", cpu.description),)

    def passes(self, device: Device) -> Sequence[Pass]:
        from ronn_provider_bitnet.passes import PASSES
        from ronn_provider_bitnet.passes.block_bits import about_bits

        return (*PASSES, *about_bits(super().passes(device)))

    def supports(self, node: Node, device: Device) -> Support:
        from ronn_provider_bitnet.passes.refusing import left_because

        answer, reason = super().supports(node, device), left_because(node)
        if not reason or not isinstance(answer, Yes):
            return answer
        return Yes(answer.score, "; ".join(filter(None, (answer.note, f"not few bits: {reason}"))))

    def kernels(self) -> KernelSet:
        return KernelSet(families=NUMPY_KERNELS)

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        if options.get("convolutions") not in CONVOLUTIONS:
            wanted = f"one of {', '.join(CONVOLUTIONS)}"
            raise OptionError(f"convolutions={options.get('convolutions')!r} is not known", hint=wanted)
        _make_lowerings_known()
        return super().compile(part, device, options)
