"""What each instruction of the loop language is on vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ronn_codegen.loops.language import ELEMENTARY, FLOATS, INTEGERS
from ronn_codegen.loops.render.memory import element
from ronn_codegen.simd import elementary, elementary64
from ronn_codegen.simd.emit import BITS
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.vectors import Vector, bf16_bits, constant, copysign, fma, largest, select, smallest, sqrt

Operation = Callable[..., Vector]


class Values:
    """Emits instructions for a target."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def apply(self, op: str, dtype: str, args: Sequence[Vector]) -> Vector:
        """The result (of loop type ``dtype``) of ``op`` on vectors."""
        if op == "cast":
            return self.cast(args[0], dtype)
        if op == "bits":
            return args[0].as_(lane(dtype))
        if op in ELEMENTARY:
            return _elementary(op, args[0])
        if op in ("floor", "ceil", "rint", "trunc"):
            if self.target.fma:  # such processors have instructions for rounding
                return args[0].do(op)
            return _ROUND[op](args[0])
        return _OPERATIONS[op](*args)

    def const(self, like: Vector, dtype: str, number: float | int) -> Vector:
        """A constant with as many lanes as ``like``."""
        return constant(like.builder, like.vec.like(lane(dtype)), number)

    def cast(self, x: Vector, dtype: str) -> Vector:
        """By value. Integers wrap; floats to integers truncate."""
        source, out = x.vec.elem, lane(dtype)
        if source == out:
            return x
        if source in ("f16", "bf16"):
            return self.cast(self._from_half(x), dtype)
        if source == "mask":
            if dtype in ("f16", "bf16"):
                return self.cast(self.cast(x, "f32"), dtype)
            like = x.const(0, out)
            return select(x, like.const(1), like)
        if out == "mask":
            return x.differs(0)
        if out in ("f16", "bf16"):
            return self._to_half(x, out)
        if source in FLOATS and out in INTEGERS:
            through = {"u32": "i64", "u64": "u64"}.get(out, out if BITS[out] >= 32 else "i32")
            return self.cast(_truncated(x, through), dtype)
        return x.to(out)

    def _from_half(self, x: Vector) -> Vector:
        if x.vec.elem == "bf16":
            return (x.as_("u16").to("u32") << 16).as_("f32")
        if self.target.fma:  # with F16C, or its like
            return x.to("f32")
        bits = x.as_("u16").to("u32")
        magnitude = (bits & 0x7FFF) << 13
        # Scaling by a power of two moves the exponent, subnormals included; what was infinite or NaN must stay so.
        scaled = (magnitude.as_("f32") * 2.0**112).as_("u32")
        special = magnitude | 0x7F800000
        y = select(magnitude < 0x0F800000, scaled, special)
        return (y | ((bits & 0x8000) << 16)).as_("f32")

    def _to_half(self, x: Vector, out: str) -> Vector:
        if x.vec.elem == "f64":
            x = _to_odd(x)
        elif x.vec.elem != "f32":
            wide = BITS[x.vec.elem] >= 32 and out == "bf16"
            x = _to_odd(x.to("f64")) if wide else x.to("f32")
        if out == "f16":
            return x.to("f16") if self.target.fma else _round_to_f16(x)
        return bf16_bits(x).to("u16").as_("bf16")


def _truncated(x: Vector, out: str) -> Vector:
    """Floats to integers; what does not fit is what the processor makes of it."""
    vec = x.vec.like(out)
    convert = x.builder.fptosi if vec.is_signed else x.builder.fptoui
    return Vector(x.builder, vec, convert(x.value, vec.llvm))


def lane(dtype: str) -> str:
    """The vector layer's name of a computed type: bools are masks."""
    return "mask" if dtype == "bool" else element(dtype)


def _to_odd(x: Vector) -> Vector:
    """float64 to float32, rounded to odd: rounding that again to fewer bits gives what rounding once would."""
    y = x.to("f32")
    back = y.to("f64")
    bits = y.as_("i32")
    bits = select(abs(x) < abs(back), bits - 1, bits)
    return select(back.equals(x) | x.is_nan(), y.as_("i32"), bits | 1).as_("f32")


def _round_to_f16(x: Vector) -> Vector:
    bits = x.as_("u32")
    sign, magnitude = (bits >> 16) & 0x8000, bits & 0x7FFFFFFF
    # Below 2**-14 adding 0.5 leaves the subnormal in the low bits, rounded by the addition.
    small = (magnitude.as_("f32") + 0.5).as_("u32") - 0x3F000000
    normal = (magnitude + (((magnitude >> 13) & 1) + 0xFFF) - 0x38000000) >> 13
    y = select(magnitude < 0x38800000, small, normal)
    y = select(magnitude < 0x477FF000, y, 0x7C00)
    y = select(x.is_nan(), ((magnitude >> 13) & 0x3FF) | 0x7E00, y)
    return (y | sign).to("u16").as_("f16")


def _elementary(op: str, x: Vector) -> Vector:
    if x.vec.elem == "f64":
        return elementary64.FUNCTIONS[op](x)
    found = elementary.FUNCTIONS.get(op)
    return found(x) if found is not None else elementary64.FUNCTIONS[op](x.to("f64")).to("f32")


def _pow(x: Vector, y: Vector) -> Vector:
    if x.vec.elem == "f64":
        return elementary64.power(x, y)
    return elementary64.power(x.to("f64"), y.to("f64")).to("f32")


def _extreme(a: Vector, b: Vector, further: Callable[[Vector, Vector], Vector], smaller_first: bool) -> Vector:
    """The larger or smaller of two, NaN if either is: ``further`` is the machine's, which gives b where one is NaN."""
    if not a.vec.is_float:
        return select(a < b if smaller_first else b < a, a, b)
    for known, other in ((a, b), (b, a)):
        if known.number is not None and known.number == known.number:
            return further(known, other)
    return select(a.is_nan(), a, further(a, b))


def _max(a: Vector, b: Vector) -> Vector:
    return _extreme(a, b, largest, False)


def _min(a: Vector, b: Vector) -> Vector:
    return _extreme(a, b, smallest, True)


def _safe_divisor(a: Vector, b: Vector) -> Vector:
    """``b``, but 1 where dividing ``a`` by it would trap."""
    bad = b.equals(0)
    if a.vec.is_signed:
        bad = bad | (b.equals(-1) & a.equals(1 << (BITS[a.vec.elem] - 1)))
    return select(bad, 1, b)


def _div(a: Vector, b: Vector) -> Vector:
    """Integers: toward zero; the smallest by -1 wraps, by zero gives 0."""
    if a.vec.is_float:
        return a / b
    return select(b.equals(0), 0, a / _safe_divisor(a, b))


def _rem(a: Vector, b: Vector) -> Vector:
    """The remainder with the sign of ``a``; by zero gives 0."""
    divisor = _safe_divisor(a, b)
    return select(b.equals(0), 0, a - (a / divisor) * divisor)


def _shl(a: Vector, b: Vector) -> Vector:
    bits = BITS[a.vec.elem]
    beyond = b.as_(f"u{bits}") > bits - 1
    return select(beyond, 0, a << select(beyond, 0, b))


def _shr(a: Vector, b: Vector) -> Vector:
    bits = BITS[a.vec.elem]
    beyond = b.as_(f"u{bits}") > bits - 1
    if a.vec.is_signed:
        return a >> select(beyond, bits - 1, b)
    return select(beyond, 0, a >> select(beyond, 0, b))


def _not(a: Vector) -> Vector:
    return a.inverted()


_ROUND = {
    "floor": elementary64.floor, "ceil": elementary64.ceil, "rint": elementary64.nearest, "trunc": elementary64.trunc,
}  # fmt: skip
_OPERATIONS: dict[str, Operation] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _div,
    "rem": _rem,
    "max": _max,
    "min": _min,
    "pow": _pow,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": _not,
    "shl": _shl,
    "shr": _shr,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a.equals(b),
    "ne": lambda a, b: a.differs(b),
    "isnan": lambda a: a.is_nan(),
    "neg": lambda a: -a,
    "abs": lambda a: abs(a) if a.vec.is_float or a.vec.is_signed else a,
    "sqrt": sqrt,
    "copysign": copysign,
    "select": select,
    "fma": fma,
}
