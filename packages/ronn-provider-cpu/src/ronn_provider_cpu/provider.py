"""``CpuProvider``: native kernels where there are any, NumPy kernels for everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ronn.families import Families
from ronn.ops import custom
from ronn.provider.contract import CachedFile, Call, CompiledPart, Device, Part, Progress, Support, Yes
from ronn.provider.kernels import KernelProvider, KernelSet
from ronn_provider_cpu.index import KERNELS

if TYPE_CHECKING:
    from ronn.ir.graph import Node
    from ronn.passes.manager import Pass

NUMPY_KERNELS = Families("ronn_provider_cpu.kernels", KERNELS)


class CpuProvider(KernelProvider):
    """Runs nodes on the host CPU. A new file in ``kernels/`` or ``lower/`` is found without being listed anywhere.

    Options: ``threads`` (0: what the process may use), ``kernels`` (``native`` or ``numpy``), ``precision``
    (``float32``, or ``bf16``: operands of matrix products and convolutions may be rounded to bfloat16 where that is
    faster; sums stay in float32), ``deterministic`` (the same bits whatever the number of threads: native kernels
    always keep to it, in however many shares their work is done).
    """

    name: ClassVar[str] = "cpu"
    folds: ClassVar[bool] = True
    wants_sizes: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Any]] = {
        "threads": 0,
        "kernels": "native",
        "precision": "float32",
        "deterministic": False,
    }

    def devices(self) -> Sequence[Device]:
        return (Device("cpu", _description()),)

    def passes(self, device: Device) -> Sequence[Pass]:
        from ronn_provider_cpu.passes import CLASSICAL, LATE, QUANTISED
        from ronn_provider_cpu.passes.widen_half import widen_half

        return (*QUANTISED, *CLASSICAL, widen_half, *LATE)

    def supports(self, node: Node, device: Device) -> Support:
        if (node.domain, node.op) in custom.table:
            from ronn_provider_cpu.custom_loops import support

            return support(node)
        answer = super().supports(node, device)
        if "widen-half" in node.tags and isinstance(answer, Yes) and not answer.note and node.op not in _MOVES:
            return Yes(answer.score, "float16 computed in float32, rounded where it is seen")
        return answer

    def kernel_call(self, node: Node, options: Mapping[str, Any]) -> Call:
        if (node.domain, node.op) not in custom.table:
            return super().kernel_call(node, options)
        from ronn.custom.python import python_call

        return python_call(node)

    def kernels(self) -> KernelSet:
        return KernelSet(families=NUMPY_KERNELS)

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        from ronn_provider_cpu.compiling import compile_part

        compiled, _ = compile_part(part, options, lambda node: self.kernel_call(node, options))
        return compiled

    def compile_for_folding(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        return CompiledPart([self.kernel_call(node, options) for node in part.nodes])

    def warm_up(self, device: Device, progress: Progress | None = None) -> int:
        from ronn_provider_cpu.warm import warm_up

        return warm_up(progress)

    def cached_files(self) -> Sequence[CachedFile]:
        from ronn_provider_cpu.warm import cached_files

        return cached_files()

    def check_cached(self, file: CachedFile) -> str:
        from ronn_codegen.native.cache import problem

        return problem(file.path)


_MOVES = frozenset({"Cast", "Identity", "Reshape", "Transpose"})  # of float16: nothing is computed


def _description() -> str:
    from ronn_provider_cpu.compiling import level, unusable

    at = level()
    return f"host CPU, native kernels ({at})" if at != "none" else f"host CPU, NumPy kernels{_because(unusable())}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""
