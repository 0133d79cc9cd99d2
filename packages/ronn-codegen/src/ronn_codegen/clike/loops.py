"""Loops of the loop language as kernels of C-like devices."""

from __future__ import annotations

from typing import Any

from ronn.cached import cached_property
from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Kernel, Param, Sizes, Target, head
from ronn_codegen.clike.render import pointwise, rows
from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.language import Loop
from ronn_codegen.native.declare import Signature


@dataclass(frozen=True)
class LoopText:
    """A loop as a C-like kernel: its arrays, dims and strides are the parameters, in the order of ``Loop.params``."""

    made: LoopKernel

    @property
    def loop(self) -> Loop:
        return self.made.loop

    @property
    def text(self) -> str:
        return self.made.text

    @property
    def signature(self) -> Signature:
        return self.made.signature

    @cached_property
    def params(self) -> tuple[Param, ...]:
        types = {a.name: f"{a.dtype}*" for a in self.loop.arrays}
        return tuple(Param(name, types.get(name, "i64")) for name in self.loop.params())

    def source(self, entry: str, target: Target) -> str:
        body = rows.body(self.loop, target) if self.loop.reduces else pointwise.body(self.loop)
        text = "\n".join(f"    {line}" if line else "" for line in body)
        return f"{functions_in(text)}/* {self.made.title} */\n{head(entry, self.params, target)}{text}\n}}\n"

    def grid(self, sizes: Sizes, target: Target) -> Grid:
        return (rows if self.loop.reduces else pointwise).grid(self.loop, sizes, target)


def kernel_of(generated: Any) -> Kernel:
    """A generated kernel as one of C-like devices: loops become text, others are such kernels already."""
    return LoopText(generated) if isinstance(generated, LoopKernel) else generated


def needs_doubles(generated: Any) -> bool:
    """Whether a generated kernel computes in float64, which some devices have not."""
    if not isinstance(generated, LoopKernel):
        return False
    loop = generated.loop
    made = {i.result: i.dtype for i in loop.instrs()}
    # Integers of many bits become bfloat16 by way of float64.
    by_way = any(i.op == "cast" and i.dtype == "bf16" and made[i.args[0]] in _LONG for i in loop.instrs())
    return by_way or "f64" in {*made.values(), *(a.dtype for a in loop.arrays)}


_LONG = frozenset({"i32", "u32", "i64", "u64"})
