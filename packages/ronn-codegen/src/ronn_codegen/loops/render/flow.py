"""Control flow and mutable variables in LLVM IR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from ronn_codegen.simd.emit import I64

Word = Any
"""An i64 value in the code that is written."""


def word(number: int) -> Word:
    return ir.Constant(I64, number)


class Flow:
    """A function ``void name(ptr block, i64 worker, i64 workers)`` while it is written."""

    def __init__(self, module: Any, name: str) -> None:
        pointer = ir.PointerType()
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, I64, I64]), name)
        self.function.attributes.add("nounwind")
        self.block, self.worker, self.workers = self.function.args
        # Variables are made in the first block; LLVM turns them into registers.
        self._variables = ir.IRBuilder(self.function.append_basic_block("variables"))
        self.b = ir.IRBuilder(self.function.append_basic_block("start"))
        self._start = self.b.block

    def finish(self) -> None:
        self.b.ret_void()
        self._variables.branch(self._start)

    def param(self, index: int) -> Word:
        """A word of the argument block."""
        place = self.b.gep(self.block, [word(index)], source_etype=I64)
        return self.b.load(place, typ=I64, align=8)

    def variable(self, kind: Any) -> Any:
        """A place for a value of type ``kind``."""
        return self._variables.alloca(kind)

    def buffer(self, kind: Any) -> Any:
        """Memory for a vector, zero at first, as an untyped pointer."""
        made = self._variables.alloca(kind)
        made.align = 64
        self._variables.store(ir.Constant(kind, None), made, align=64)
        # llvmlite takes every pointer for equal, and so leaves a cast to an untyped one out.
        cast = ir.instructions.CastInstr(self._variables.block, "bitcast", made, ir.PointerType())
        self._variables._insert(cast)
        return cast

    def get(self, place: Any, kind: Any = I64) -> Any:
        return self.b.load(place, typ=kind)

    def set(self, place: Any, value: Any) -> None:
        self.b.store(value, place)

    @contextmanager
    def counted(self, low: Word, high: Word, step: int = 1) -> Iterator[Word]:
        """A loop over ``range(low, high, step)``. Behind it the counter is the first not below ``high``."""
        b = self.b
        before = b.block
        head, body, after = (self.function.append_basic_block(n) for n in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(low, before)
        b.cbranch(b.icmp_signed("<", i, high), body, after)
        b.position_at_end(body)
        yield i
        i.add_incoming(b.add(i, word(step), flags=["nsw"]), b.block)
        b.branch(head)
        b.position_at_end(after)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """Runs what is written inside only if the i1 ``condition`` holds."""
        b = self.b
        body, after = (self.function.append_basic_block(n) for n in ("then", "after"))
        b.cbranch(condition, body, after)
        b.position_at_end(body)
        yield
        b.branch(after)
        b.position_at_end(after)

    def smaller(self, a: Word, c: Word) -> Word:
        return self.b.select(self.b.icmp_signed("<", a, c), a, c)

    def share(self, units: Word) -> tuple[Word, Word]:
        """The range of ``units`` that this worker of the workers does."""
        b = self.b
        low = b.sdiv(b.mul(units, self.worker), self.workers)
        high = b.sdiv(b.mul(units, b.add(self.worker, word(1))), self.workers)
        return low, high
