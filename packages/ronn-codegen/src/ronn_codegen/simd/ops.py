"""Operations on vectors, as numba intrinsics. Each works for every element type and lane count that makes sense."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from ronn_codegen.simd.emit import I32, Builder, llvm_call, suffix
from ronn_codegen.simd.types import BITS, Vec


def _same(*vecs: Any) -> Vec | None:
    first = vecs[0]
    return first if isinstance(first, Vec) and all(v == first for v in vecs) else None


Emit = Callable[[Builder, Vec, Any], Any]


def _elementwise(name: str, arity: int, emit: Emit, result: Callable[[Vec], Vec] = lambda v: v) -> Any:
    """An intrinsic on ``arity`` vectors of one type."""

    def type_and_generate(*vecs: Any) -> Any:
        vec = _same(*vecs)
        if vec is None:
            raise TypingError(f"{name} takes {arity} vectors of one type, not {', '.join(map(str, vecs))}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return emit(builder, vec, args)

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


def _pick(float_op: str, signed_op: str, unsigned_op: str | None = None) -> Emit:
    def emit(builder: Builder, vec: Vec, args: Any) -> Any:
        op = float_op if vec.is_float else signed_op if vec.is_signed or unsigned_op is None else unsigned_op
        return getattr(builder, op)(*args)

    return emit


def _named(float_name: str | None, signed_name: str | None = None, unsigned_name: str | None = None) -> Emit:
    def emit(builder: Builder, vec: Vec, args: Any) -> Any:
        name = float_name if vec.is_float else signed_name if vec.is_signed else unsigned_name
        if name is None:
            raise TypingError(f"no such operation for {vec}")
        return llvm_call(builder, f"llvm.{name}.{suffix(vec)}", vec.llvm, *args)

    return emit


def _compare(symbol: str) -> Emit:
    def emit(builder: Builder, vec: Vec, args: Any) -> Any:
        if vec.is_float:
            compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        else:
            compare = builder.icmp_signed if vec.is_signed else builder.icmp_unsigned
        return compare(symbol, *args)

    return emit


def _mask_of(vec: Vec) -> Vec:
    return vec.mask


def _emit_abs(builder: Builder, vec: Vec, args: Any) -> Any:
    if vec.is_float:
        return llvm_call(builder, f"llvm.fabs.{suffix(vec)}", vec.llvm, *args)
    no = ir.Constant(ir.IntType(1), 0)
    return llvm_call(builder, f"llvm.abs.{suffix(vec)}", vec.llvm, args[0], no)


def _emit_neg(builder: Builder, vec: Vec, args: Any) -> Any:
    return builder.fneg(args[0]) if vec.is_float else builder.neg(args[0])


add = _elementwise("add", 2, _pick("fadd", "add"))
sub = _elementwise("sub", 2, _pick("fsub", "sub"))
mul = _elementwise("mul", 2, _pick("fmul", "mul"))
div = _elementwise("div", 2, _pick("fdiv", "sdiv", "udiv"))
neg = _elementwise("neg", 1, _emit_neg)
absolute = _elementwise("absolute", 1, _emit_abs)
sqrt = _elementwise("sqrt", 1, _named("sqrt"))
rint = _elementwise("rint", 1, _named("rint"))
floor = _elementwise("floor", 1, _named("floor"))
ceil = _elementwise("ceil", 1, _named("ceil"))
trunc = _elementwise("trunc", 1, _named("trunc"))
copysign = _elementwise("copysign", 2, _named("copysign"))
# Of NaN and a number: the number. ``propagating_max`` gives NaN.
maximum = _elementwise("maximum", 2, _named("maxnum", "smax", "umax"))
minimum = _elementwise("minimum", 2, _named("minnum", "smin", "umin"))
propagating_max = _elementwise("propagating_max", 2, _named("maximum", "smax", "umax"))
propagating_min = _elementwise("propagating_min", 2, _named("minimum", "smin", "umin"))
# a * b + c: fused where the target has it, two roundings where not.
fma = _elementwise("fma", 3, _named("fmuladd"))
bit_and = _elementwise("bit_and", 2, lambda builder, vec, args: builder.and_(*args))
bit_or = _elementwise("bit_or", 2, lambda builder, vec, args: builder.or_(*args))
bit_xor = _elementwise("bit_xor", 2, lambda builder, vec, args: builder.xor(*args))
shift_left = _elementwise("shift_left", 2, lambda builder, vec, args: builder.shl(*args))
shift_right = _elementwise(
    "shift_right", 2, lambda builder, vec, args: (builder.ashr if vec.is_signed else builder.lshr)(*args)
)
less = _elementwise("less", 2, _compare("<"), _mask_of)
less_equal = _elementwise("less_equal", 2, _compare("<="), _mask_of)
equal = _elementwise("equal", 2, _compare("=="), _mask_of)
not_equal = _elementwise("not_equal", 2, _compare("!="), _mask_of)
popcount = _elementwise("popcount", 1, _named(None, "ctpop", "ctpop"))


@intrinsic
def select(typing: Any, mask: Any, yes: Any, no: Any) -> Any:
    """``yes`` where the mask is set, else ``no``."""
    if not (isinstance(yes, Vec) and yes == no and mask == yes.mask):
        raise TypingError(f"select takes a mask and two vectors of one type, not {mask}, {yes}, {no}")
    return yes(mask, yes, no), lambda context, builder, signature, args: builder.select(*args)


# --- conversion


def _convert(name: str, emit: Callable[[Builder, Vec, Vec, Any], Any]) -> Callable[[str], Any]:
    """A family of intrinsics: ``convert("i32")`` makes the one that converts to i32."""

    def to(elem: str) -> Any:
        @intrinsic
        def converted(typing: Any, value: Any) -> Any:
            if not isinstance(value, Vec):
                raise TypingError(f"{name} takes a vector, not {value}")
            out = value.like(elem)

            def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
                return emit(builder, value, out, args[0])

            return out(value), generate

        return converted

    return to


def _emit_convert(builder: Builder, source: Vec, out: Vec, value: Any) -> Any:
    """By value: floats to integers truncate toward zero and saturate, NaN becomes 0."""
    a, b = BITS[source.elem], BITS[out.elem]
    if source.is_float and out.is_float:
        return builder.fpext(value, out.llvm) if b > a else builder.fptrunc(value, out.llvm) if b < a else value
    if source.is_float:
        name = "fptosi" if out.is_signed else "fptoui"
        return llvm_call(builder, f"llvm.{name}.sat.{suffix(out)}.{suffix(source)}", out.llvm, value)
    signed = source.is_signed
    if out.is_float:
        return builder.sitofp(value, out.llvm) if signed else builder.uitofp(value, out.llvm)
    if b > a:
        return builder.sext(value, out.llvm) if signed else builder.zext(value, out.llvm)
    return builder.trunc(value, out.llvm) if b < a else value


def _emit_bits(builder: Builder, source: Vec, out: Vec, value: Any) -> Any:
    return builder.bitcast(value, out.llvm)


convert = _convert("convert", _emit_convert)
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
            return _tree(builder, value, args[0], float_name)

        return value.scalar(value), generate

    return reduced


def _tree(builder: Builder, vec: Vec, value: Any, op: str) -> Any:
    """Halves a vector until one lane is left: a fixed order of operations on every target."""
    lanes = vec.lanes
    while lanes > 1:
        half = lanes // 2
        undefined = ir.Constant(value.type, ir.Undefined)
        parts = [
            builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(I32, half), list(range(at, at + half))))
            for at in (0, half)
        ]
        if op == "fadd":
            value = builder.fadd(*parts)
        else:
            value = llvm_call(builder, f"llvm.{op}.{suffix(Vec(vec.elem, half))}", parts[0].type, *parts)
        lanes = half
    return builder.extract_element(value, ir.Constant(I32, 0))


reduce_add = _reduce("reduce_add", "fadd", "add")
reduce_max = _reduce("reduce_max", "maximum", "smax")
reduce_min = _reduce("reduce_min", "minimum", "smin")


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
