"""Dot products of bytes, lanes of four unsigned bytes times four signed bytes, added to int32, and of bfloat16 pairs.

Dots of bytes are exact on every target. Operands are int32 vectors whose lanes hold four bytes each. Where the
processor has the instruction (VNNI) one dot is one instruction. Elsewhere both sides are first split into 16-bit halves
(even and odd bytes): pairs of those are multiplied and added without overflow, which the shorter saturating byte
instruction of x86 cannot promise.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ronn_codegen.simd.emit import Builder, llvm_call, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import Terms, multiply_add
from ronn_codegen.simd.types import Vec

_X86 = ("avx512", "avx2", "baseline128")
_MADD = {128: "llvm.x86.sse2.pmadd.wd", 256: "llvm.x86.avx2.pmadd.wd", 512: "llvm.x86.avx512.pmaddw.d.512"}
Split = tuple[Any, ...]


class ByteDot:
    """Emits the dot of one target. ``activations`` and ``weights`` prepare operands, which then serve many ``dot``."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lanes = target.lanes(32)
        self.words = ir.VectorType(ir.IntType(32), self.lanes)
        self.halves = ir.VectorType(ir.IntType(16), 2 * self.lanes)
        self.native = target.int8_dot and target.name in _X86

    @property
    def registers(self) -> int:
        """Vector registers that one prepared operand takes."""
        return 1 if self.native else 2

    def activations(self, builder: Builder, value: Any) -> Split:
        """Unsigned bytes, four a lane."""
        if self.native:
            return (value,)
        halves = builder.bitcast(value, self.halves)
        return builder.and_(halves, self._half(255)), builder.lshr(halves, self._half(8))

    def weights(self, builder: Builder, value: Any) -> Split:
        """Signed bytes, four a lane."""
        if self.native:
            return (value,)
        halves = builder.bitcast(value, self.halves)
        eight = self._half(8)
        return builder.ashr(builder.shl(halves, eight), eight), builder.ashr(halves, eight)

    def dot(self, builder: Builder, acc: Any, activations: Split, weights: Split) -> Any:
        """``acc`` plus, in each lane, the sum of four products."""
        if self.native:
            name = f"llvm.x86.avx512.vpdpbusd.{self.target.bits}"
            return llvm_call(builder, name, self.words, acc, activations[0], weights[0])
        for a, w in zip(activations, weights, strict=True):
            acc = builder.add(acc, self._pairs(builder, a, w))
        return acc

    def _pairs(self, builder: Builder, a: Any, w: Any) -> Any:
        """Sums of two neighbouring 16-bit products in each lane."""
        if self.target.name in _X86:
            return llvm_call(builder, _MADD[self.target.bits], self.words, a, w)
        sixteen = splat(builder, ir.Constant(ir.IntType(32), 16), self.lanes)
        a, w = builder.bitcast(a, self.words), builder.bitcast(w, self.words)
        low = [builder.ashr(builder.shl(v, sixteen), sixteen) for v in (a, w)]
        high = [builder.ashr(v, sixteen) for v in (a, w)]
        return builder.add(builder.mul(*low), builder.mul(*high))

    def _half(self, number: int) -> Any:
        return ir.Constant(self.halves, [number] * (2 * self.lanes))


@cache
def dot4(target: Target) -> Any:
    """The intrinsic ``dot(acc, activations, weights)`` on i32 vectors of ``target``'s width."""
    emitter = ByteDot(target)
    words = Vec("i32", emitter.lanes)

    @intrinsic
    def dot(typing: Any, acc: Any, activations: Any, weights: Any) -> Any:
        if not all(v == words for v in (acc, activations, weights)):
            raise TypingError(f"dot takes three vectors {words}, not {acc}, {activations}, {weights}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            a, w = emitter.activations(builder, args[1]), emitter.weights(builder, args[2])
            return emitter.dot(builder, args[0], a, w)

        return words(words, words, words), generate

    return dot


class PairDot:
    """Emits the dot of bfloat16 pairs of one target: float32 lanes plus the two products of pairs in 32-bit lanes.

    Products are exact, sums are rounded as in float32; elsewhere than in the instruction the low elements come first.
    The instruction keeps no subnormals.
    """

    def __init__(self, target: Target) -> None:
        self.lanes = target.lanes(32)
        self.floats, self.words = Vec("f32", self.lanes), Vec("i32", self.lanes)
        self.native = target.bf16_dot and target.name == "avx512"

    def dot(self, builder: Builder, acc: Any, a: Any, b: Any) -> Any:
        if self.native:
            return llvm_call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", self.floats.llvm, acc, a, b)
        for x, y in zip(as_floats(builder, a, self.lanes), as_floats(builder, b, self.lanes), strict=True):
            acc = multiply_add(builder, self.floats, x, y, acc)
        return acc


def as_floats(builder: Builder, words: Any, lanes: int) -> list[Any]:
    """The lower and the higher bfloat16 of each word, as float32."""
    low = builder.shl(words, splat(builder, ir.Constant(ir.IntType(32), 16), lanes))
    high = builder.and_(words, splat(builder, ir.Constant(ir.IntType(32), 0xFFFF0000), lanes))
    return [builder.bitcast(bits, ir.VectorType(ir.FloatType(), lanes)) for bits in (low, high)]


@cache
def bf16_dot(target: Target) -> Any:
    """The intrinsic ``dot(acc, a, b)``: f32 lanes plus two products of bfloat16 pairs, which lie in i32 lanes."""
    emitter = PairDot(target)
    floats, words = emitter.floats, emitter.words

    @intrinsic
    def dot(typing: Any, acc: Any, a: Any, b: Any) -> Any:
        if acc != floats or a != words or b != words:
            raise TypingError(f"dot takes {floats}, {words}, {words}, not {acc}, {a}, {b}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return emitter.dot(builder, *args)

        return floats(floats, words, words), generate

    return dot


@cache
def bf16_terms(target: Target) -> Terms:
    """What register tiles with bfloat16 operands multiply: pairs in 32-bit lanes."""
    emitter = PairDot(target)

    def add(builder: Builder, _: Vec, x: Any, y: Any, acc: Any) -> Any:
        return emitter.dot(builder, acc, x, y)

    return Terms("i32", add)
