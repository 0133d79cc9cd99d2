"""A loop as a kernel: its text (by which code is cached), its parameters, and its machine code."""

from __future__ import annotations

from ronn.cached import cached_property
from ronn.records import dataclass, field
from ronn_codegen.loops.language import LEAVES, Loop
from ronn_codegen.native.declare import Signature
from ronn_codegen.native.machine import Machine

ENTRY = "kernel"
_REMEMBERED = 4096
_kernels: dict[str, LoopKernel] = {}


@dataclass(frozen=True)
class LoopKernel:
    """A loop ready to be called; kernels with equal texts are equal."""

    text: str
    loop: Loop = field(compare=False, repr=False)

    @classmethod
    def of(cls, loop: Loop) -> LoopKernel:
        """The kernel of a loop; the same object for loops of one text, as long as it is remembered."""
        text = str(loop)
        known = _kernels.get(text)
        if known is None:
            if len(_kernels) >= _REMEMBERED:
                _kernels.clear()
            known = _kernels[text] = cls(text, loop)
        return known

    @cached_property
    def signature(self) -> Signature:
        """Addresses of the arrays, dims, strides: 64-bit integers all."""
        return Signature(self.title, tuple([(name, "i64") for name in self.loop.params()]))

    @cached_property
    def title(self) -> str:
        """What profiles call it: ``loop:add,erf`` or ``rows:peak,sub,exp``."""
        quiet = LEAVES | {"store", "cast", "mul", "add", "sub"}
        told = dict.fromkeys(i.op for i in self.loop.instrs() if i.op not in quiet)
        plain = dict.fromkeys(i.op for i in self.loop.instrs() if i.op not in LEAVES and i.op != "store")
        words = [*told, *(op for op in plain if op not in told)][:4]
        return f"{'rows' if self.loop.reduces else 'loop'}:{','.join(words) if words else 'copy'}"

    def source(self, machine: Machine) -> str:
        """The LLVM IR that ``build`` starts from."""
        from ronn_codegen.loops.render.build import llvm_text

        return llvm_text(self.loop, machine)

    def build(self, machine: Machine) -> bytes:
        """An object file with the entry point ``kernel``."""
        from ronn_codegen.loops.render.build import object_code

        return object_code(self.loop, machine)
