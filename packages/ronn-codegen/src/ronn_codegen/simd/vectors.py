"""Vectors while code is written: Python's operators on them append LLVM instructions.

    y = fma(x, x, 1.0) * 0.5

Numbers stand for vectors with that number in every lane. Used by the elementary functions and by the loop renderer.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from ronn_codegen.simd import emit
from ronn_codegen.simd.emit import EMIT, Builder, Shaped

Number = float | int | bool


def round_to(elem: str, number: Number) -> Number:
    """``number`` as the element type holds it: f32 rounded, integers wrapped."""
    if elem == "f32":
        wide = float(number)
        if math.isfinite(wide):
            try:
                return float(struct.unpack("<f", struct.pack("<f", wide))[0])
            except OverflowError:
                return math.copysign(math.inf, wide)
        return wide
    if elem in ("f64", "f16"):
        return float(number)
    if elem == "mask":
        return bool(number)
    return int(number) & ((1 << emit.BITS[elem]) - 1)


class Vector:
    """A value of vector type ``vec`` in the code that ``builder`` writes. ``number`` is set for constants."""

    __slots__ = ("builder", "number", "value", "vec")

    def __init__(self, builder: Builder, vec: Any, value: Any, number: Number | None = None) -> None:
        self.builder, self.vec, self.value, self.number = builder, vec, value, number

    def const(self, number: Number, elem: str | None = None) -> Vector:
        """A constant with as many lanes, of the same element type unless another is given."""
        return constant(self.builder, self.vec if elem is None else self.vec.like(elem), number)

    def _with(self, other: Vector | Number) -> Vector:
        return other if isinstance(other, Vector) else self.const(other)

    def do(self, name: str, *others: Vector | Number) -> Vector:
        """The operation ``EMIT[name]`` on this and others."""
        values = [self.value, *(self._with(o).value for o in others)]
        out = self.vec.like("mask") if name in emit.COMPARISONS else self.vec
        return Vector(self.builder, out, EMIT[name](self.builder, self.vec, values))

    def to(self, elem: str) -> Vector:
        """Converted by value: floats to integers truncate and saturate."""
        out = self.vec.like(elem)
        return Vector(self.builder, out, emit.convert(self.builder, self.vec, out, self.value))

    def as_(self, elem: str) -> Vector:
        """The same bits as another element type of the same width."""
        out = self.vec.like(elem)
        return Vector(self.builder, out, self.builder.bitcast(self.value, out.llvm))

    def __add__(self, other: Vector | Number) -> Vector:
        return self.do("add", other)

    def __radd__(self, other: Number) -> Vector:
        return self._with(other).do("add", self)

    def __sub__(self, other: Vector | Number) -> Vector:
        return self.do("sub", other)

    def __rsub__(self, other: Number) -> Vector:
        return self._with(other).do("sub", self)

    def __mul__(self, other: Vector | Number) -> Vector:
        return self.do("mul", other)

    def __rmul__(self, other: Number) -> Vector:
        return self._with(other).do("mul", self)

    def __truediv__(self, other: Vector | Number) -> Vector:
        return self.do("div", other)

    def __rtruediv__(self, other: Number) -> Vector:
        return self._with(other).do("div", self)

    def __neg__(self) -> Vector:
        return self.do("neg")

    def __abs__(self) -> Vector:
        return self.do("absolute")

    def __and__(self, other: Vector | Number) -> Vector:
        return self.do("bit_and", other)

    def __or__(self, other: Vector | Number) -> Vector:
        return self.do("bit_or", other)

    def __xor__(self, other: Vector | Number) -> Vector:
        return self.do("bit_xor", other)

    def __lshift__(self, other: Vector | Number) -> Vector:
        return self.do("shift_left", other)

    def __rshift__(self, other: Vector | Number) -> Vector:
        return self.do("shift_right", other)

    def __lt__(self, other: Vector | Number) -> Vector:
        return self.do("less", other)

    def __le__(self, other: Vector | Number) -> Vector:
        return self.do("less_equal", other)

    def __gt__(self, other: Vector | Number) -> Vector:
        return self._with(other).do("less", self)

    def __ge__(self, other: Vector | Number) -> Vector:
        return self._with(other).do("less_equal", self)

    def equals(self, other: Vector | Number) -> Vector:
        """The mask of equal lanes."""
        return self.do("equal", other)

    def differs(self, other: Vector | Number) -> Vector:
        """The mask of lanes that are not equal; NaN differs from itself."""
        return self.do("not_equal", other)

    def is_nan(self) -> Vector:
        """The mask of NaN lanes."""
        return self.do("not_equal", self)

    def inverted(self) -> Vector:
        """Every bit of every lane flipped."""
        return Vector(self.builder, self.vec, self.builder.not_(self.value))


def constant(builder: Builder, vec: Any, number: Number) -> Vector:
    """``number`` in every lane."""
    held = round_to(vec.elem, number)
    return Vector(builder, vec, emit.Splat(vec.llvm, held), held)


def fma(a: Vector, b: Vector | Number, c: Vector | Number) -> Vector:
    """a * b + c: fused where the target has it, two roundings where not."""
    return a.do("fma", b, c)


def select(mask: Vector, yes: Vector | Number, no: Vector | Number) -> Vector:
    """``yes`` where the mask is set, else ``no``; at least one of them is a vector."""
    like = yes if isinstance(yes, Vector) else no
    if not isinstance(like, Vector):
        raise TypeError("select takes at least one vector")
    a, b = (x if isinstance(x, Vector) else like.const(x) for x in (yes, no))
    return Vector(mask.builder, like.vec, mask.builder.select(mask.value, a.value, b.value))


def largest(a: Vector | Number, b: Vector) -> Vector:
    """The larger; ``b`` where either is NaN: one instruction on x86."""
    return select(b < a, a, b)


def smallest(a: Vector | Number, b: Vector) -> Vector:
    """The smaller; ``b`` where either is NaN."""
    return select(b > a, a, b)


def bf16_bits(x: Vector) -> Vector:
    """float32 rounded to bfloat16, to nearest, ties to even: its bits as u32, whose higher half is zero."""
    bits = x.as_("u32")
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return select(x.is_nan(), (bits >> 16) | 0x40, rounded)


def sqrt(x: Vector) -> Vector:
    return x.do("sqrt")


def copysign(magnitude: Vector, sign: Vector | Number) -> Vector:
    return magnitude.do("copysign", sign)


def shaped(vec: Shaped, builder: Builder, value: Any) -> Vector:
    """An LLVM value of vector type ``vec`` as a ``Vector``."""
    return Vector(builder, vec, value)
