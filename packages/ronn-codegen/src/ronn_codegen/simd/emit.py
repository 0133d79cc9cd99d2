"""Operations on vectors as LLVM IR: what numba's intrinsics and the loop renderer are both made of.

``LANES`` types know their element and lane count; ``EMIT[name](builder, vec, args)`` appends an operation on vectors of
type ``vec``. Nothing here needs numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ronn.records import dataclass

Builder = Any
I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)

BITS = {
    "f32": 32, "f64": 64, "f16": 16, "bf16": 16, "mask": 1,
    **{f"{sign}{bits}": bits for bits in (8, 16, 32, 64) for sign in "iu"},
}  # fmt: skip
LLVM = {"f32": ir.FloatType(), "f64": ir.DoubleType(), "f16": ir.HalfType()}
LLVM.update({elem: ir.IntType(bits) for elem, bits in BITS.items() if elem not in LLVM})  # bf16: bits, storage only


class Shaped:
    """What vector types of numba and of the loop renderer have in common: ``elem`` (a key of ``BITS``), ``lanes``."""

    elem: str
    lanes: int

    @property
    def is_float(self) -> bool:
        return self.elem in ("f32", "f64", "f16")

    @property
    def is_signed(self) -> bool:
        return self.elem.startswith("i")

    @property
    def llvm(self) -> Any:
        return ir.VectorType(LLVM[self.elem], self.lanes)

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return BITS[self.elem]


@dataclass(frozen=True, slots=True)
class Lanes(Shaped):
    """``lanes`` elements of type ``elem``. ``mask`` vectors hold one bit a lane."""

    elem: str
    lanes: int

    def like(self, elem: str) -> Lanes:
        """As many lanes of another element."""
        return Lanes(elem, self.lanes)


def suffix(vec: Shaped) -> str:
    """LLVM's name of a vector type in intrinsics: ``v16f32``."""
    return f"v{vec.lanes}{'f' if vec.is_float else 'i'}{BITS[vec.elem]}"


def llvm_call(builder: Builder, name: str, out: Any, *args: Any) -> Any:
    """A call of an LLVM intrinsic."""
    fn = builder.module.globals.get(name)
    if fn is None:
        fn = ir.Function(builder.module, ir.FunctionType(out, [a.type for a in args]), name)
    return builder.call(fn, args)


class Splat(ir.Constant):
    """A constant vector with one number in every lane, whose text is short however many lanes there are."""

    def __init__(self, kind: Any, number: float | int | bool) -> None:
        super().__init__(kind, None)
        self._scalar = ir.Constant(kind.element, number)

    def _get_reference(self) -> str:
        return f"splat ({self._scalar})"


def splat(builder: Builder, scalar: Any, lanes: int) -> Any:
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    if isinstance(scalar, ir.Constant):
        return Splat(vector, scalar.constant)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def first_lanes(builder: Builder, count: Any, lanes: int) -> Any:
    """The mask of the lanes before ``count`` (an integer; none when it is not positive)."""
    wide = ir.VectorType(I64, lanes)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(lanes))), splat(builder, count, lanes))


def place(builder: Builder, address: Any, index: Any, elem: str) -> Any:
    """A pointer to element ``index`` of the array at the integer ``address``."""
    return builder.gep(builder.inttoptr(address, ir.PointerType()), [index], source_etype=LLVM[elem])


# --- operations: (builder, vector type, arguments) -> value

Emit = Callable[[Builder, Any, Any], Any]


class NotForType(TypeError):
    """An operation that does not exist for an element type."""


def _pick(float_op: str, signed_op: str, unsigned_op: str | None = None) -> Emit:
    def emit(builder: Builder, vec: Shaped, args: Any) -> Any:
        op = float_op if vec.is_float else signed_op if vec.is_signed or unsigned_op is None else unsigned_op
        return getattr(builder, op)(*args)

    return emit


def _named(float_name: str | None, signed_name: str | None = None, unsigned_name: str | None = None) -> Emit:
    def emit(builder: Builder, vec: Shaped, args: Any) -> Any:
        name = float_name if vec.is_float else signed_name if vec.is_signed else unsigned_name
        if name is None:
            raise NotForType(f"no such operation for {vec}")
        return llvm_call(builder, f"llvm.{name}.{suffix(vec)}", vec.llvm, *args)

    return emit


def _compare(symbol: str) -> Emit:
    def emit(builder: Builder, vec: Shaped, args: Any) -> Any:
        if vec.is_float:
            compare = builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        else:
            compare = builder.icmp_signed if vec.is_signed else builder.icmp_unsigned
        return compare(symbol, *args)

    return emit


def _absolute(builder: Builder, vec: Shaped, args: Any) -> Any:
    if vec.is_float:
        return llvm_call(builder, f"llvm.fabs.{suffix(vec)}", vec.llvm, *args)
    return llvm_call(builder, f"llvm.abs.{suffix(vec)}", vec.llvm, args[0], ir.Constant(I1, 0))


def _shift_right(builder: Builder, vec: Shaped, args: Any) -> Any:
    return (builder.ashr if vec.is_signed else builder.lshr)(*args)


EMIT: dict[str, Emit] = {
    "add": _pick("fadd", "add"),
    "sub": _pick("fsub", "sub"),
    "mul": _pick("fmul", "mul"),
    "div": _pick("fdiv", "sdiv", "udiv"),
    "neg": lambda b, vec, args: b.fneg(args[0]) if vec.is_float else b.neg(args[0]),
    "absolute": _absolute,
    "sqrt": _named("sqrt"),
    "rint": _named("rint"),
    "floor": _named("floor"),
    "ceil": _named("ceil"),
    "trunc": _named("trunc"),
    "copysign": _named("copysign"),
    # Of NaN and a number: the number. ``propagating_max`` gives NaN.
    "maximum": _named("maxnum", "smax", "umax"),
    "minimum": _named("minnum", "smin", "umin"),
    "propagating_max": _named("maximum", "smax", "umax"),
    "propagating_min": _named("minimum", "smin", "umin"),
    # a * b + c: fused where the target has it, two roundings where not.
    "fma": _named("fmuladd"),
    "bit_and": lambda b, vec, args: b.and_(*args),
    "bit_or": lambda b, vec, args: b.or_(*args),
    "bit_xor": lambda b, vec, args: b.xor(*args),
    "shift_left": lambda b, vec, args: b.shl(*args),
    "shift_right": _shift_right,
    "less": _compare("<"),
    "less_equal": _compare("<="),
    "equal": _compare("=="),
    "not_equal": _compare("!="),
    "popcount": _named(None, "ctpop", "ctpop"),
}
COMPARISONS = frozenset({"less", "less_equal", "equal", "not_equal"})


def convert(builder: Builder, source: Shaped, out: Shaped, value: Any) -> Any:
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


def halves(builder: Builder, value: Any, lanes: int) -> list[Any]:
    """The lower and the upper lanes of a vector."""
    half = lanes // 2
    undefined = ir.Constant(value.type, ir.Undefined)
    return [
        builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(I32, half), list(range(at, at + half))))
        for at in (0, half)
    ]


def tree(builder: Builder, vec: Shaped, value: Any, combine: Emit) -> Any:
    """Halves a vector until one lane is left, in an order of operations that is the same on every target."""
    lanes = vec.lanes
    while lanes > 1:
        parts = halves(builder, value, lanes)
        lanes //= 2
        value = combine(builder, Lanes(vec.elem, lanes), parts)
    return builder.extract_element(value, ir.Constant(I32, 0))
