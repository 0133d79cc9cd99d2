"""Operations on vectors, as numba intrinsics. Each works for every element type and lane count that makes sense."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ronn_codegen.simd import emit
from ronn_codegen.simd.emit import COMPARISONS, EMIT, Builder, Emit, llvm_call, suffix
from ronn_codegen.simd.types import Vec


def _same(*vecs: Any) -> Vec | None:
    first = vecs[0]
    return first if isinstance(first, Vec) and all(v == first for v in vecs) else None


def _elementwise(name: str, arity: int, generator: Emit, result: Callable[[Vec], Vec] = lambda v: v) -> Any:
    """An intrinsic on ``arity`` vectors of one type."""

    def type_and_generate(*vecs: Any) -> Any:
        vec = _same(*vecs)
        if vec is None:
            raise TypingError(f"{name} takes {arity} vectors of one type, not {', '.join(map(str, vecs))}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return generator(builder, vec, args)

        return result(vec)(*vecs), generate

    if arity == 1:

        @intrinsic
        def unary(typing: Any, a: Any) -> Any:
            return type_and_generate(a)

        return unary
    if arity == 2:

        @intrinsic
        def binary(typing: Any, a: Any, b: Any) -> Any:
            return type_and_generate(a, b)

        return binary

    @intrinsic
    def ternary(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return type_and_generate(a, b, c)

    return ternary


def _mask_of(vec: Vec) -> Vec:
    return vec.mask


def _named(name: str, arity: int) -> Any:
    return _elementwise(name, arity, EMIT[name], _mask_of if name in COMPARISONS else lambda v: v)


add = _named("add", 2)
sub = _named("sub", 2)
mul = _named("mul", 2)
div = _named("div", 2)
neg = _named("neg", 1)
absolute = _named("absolute", 1)
sqrt = _named("sqrt", 1)
rint = _named("rint", 1)
floor = _named("floor", 1)
ceil = _named("ceil", 1)
trunc = _named("trunc", 1)
copysign = _named("copysign", 2)
# Of NaN and a number: the number. ``propagating_max`` gives NaN.
maximum = _named("maximum", 2)
minimum = _named("minimum", 2)
propagating_max = _named("propagating_max", 2)
propagating_min = _named("propagating_min", 2)
# a * b + c: fused where the target has it, two roundings where not.
fma = _named("fma", 3)
bit_and = _named("bit_and", 2)
bit_or = _named("bit_or", 2)
bit_xor = _named("bit_xor", 2)
shift_left = _named("shift_left", 2)
shift_right = _named("shift_right", 2)
less = _named("less", 2)
less_equal = _named("less_equal", 2)
equal = _named("equal", 2)
not_equal = _named("not_equal", 2)
popcount = _named("popcount", 1)


@intrinsic
def select(typing: Any, mask: Any, yes: Any, no: Any) -> Any:
    """``yes`` where the mask is set, else ``no``."""
    if not (isinstance(yes, Vec) and yes == no and mask == yes.mask):
        raise TypingError(f"select takes a mask and two vectors of one type, not {mask}, {yes}, {no}")
    return yes(mask, yes, no), lambda context, builder, signature, args: builder.select(*args)


# --- conversion


def _convert(name: str, generator: Callable[[Builder, Vec, Vec, Any], Any]) -> Callable[[str], Any]:
    """A family of intrinsics: ``convert("i32")`` makes the one that converts to i32."""

    def to(elem: str) -> Any:
        @intrinsic
        def converted(typing: Any, value: Any) -> Any:
            if not isinstance(value, Vec):
                raise TypingError(f"{name} takes a vector, not {value}")
            out = value.like(elem)

            def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
                return generator(builder, value, out, args[0])

            return out(value), generate

        return converted

    return to


def _emit_bits(builder: Builder, source: Vec, out: Vec, value: Any) -> Any:
    return builder.bitcast(value, out.llvm)


convert = _convert("convert", emit.convert)
bitcast = _convert("bitcast", _emit_bits)


# --- across lanes


def _reduce(name: str, float_name: str, int_name: str) -> Any:
    @intrinsic
    def reduced(typing: Any, value: Any) -> Any:
        if not isinstance(value, Vec):
            raise TypingError(f"{name} takes a vector, not {value}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            element = value.llvm.element
            if not value.is_float:
                return llvm_call(builder, f"llvm.vector.reduce.{int_name}.{suffix(value)}", element, args[0])
            return emit.tree(builder, value, args[0], EMIT[float_name])

        return value.scalar(value), generate

    return reduced


reduce_add = _reduce("reduce_add", "add", "add")
reduce_max = _reduce("reduce_max", "propagating_max", "smax")
reduce_min = _reduce("reduce_min", "propagating_min", "smin")


@intrinsic
def any_lane(typing: Any, mask: Any) -> Any:
    """Whether any lane of a mask is set."""
    if not (isinstance(mask, Vec) and mask.elem == "mask"):
        raise TypingError(f"any_lane takes a mask, not {mask}")

    def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
        return llvm_call(builder, f"llvm.vector.reduce.or.v{mask.lanes}i1", ir.IntType(1), args[0])

    return types.boolean(mask), generate


# --- operators in kernels: a + b, a * b, -a, a < b on vectors


def _operator(symbol: Callable[..., Any], fn: Any, arity: int = 2) -> None:
    if arity == 1:

        @overload(symbol)
        def unary(a):  # type: ignore[no-untyped-def]  # numba compares the signatures
            return (lambda a: fn(a)) if isinstance(a, Vec) else None

        return

    @overload(symbol)
    def binary(a, b):  # type: ignore[no-untyped-def]
        return (lambda a, b: fn(a, b)) if _same(a, b) is not None else None


for _symbol, _fn in (
    (operator.add, add), (operator.sub, sub), (operator.mul, mul), (operator.truediv, div), (operator.and_, bit_and),
    (operator.or_, bit_or), (operator.xor, bit_xor), (operator.lshift, shift_left), (operator.rshift, shift_right),
    (operator.lt, less), (operator.le, less_equal), (operator.eq, equal), (operator.ne, not_equal),
):  # fmt: skip
    _operator(_symbol, _fn)
_operator(operator.neg, neg, 1)
