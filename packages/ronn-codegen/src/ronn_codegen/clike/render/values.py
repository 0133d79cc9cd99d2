"""What each instruction of the loop language is in C. Results are those of ``ronn_codegen.loops.render.values``.

A value is a variable of the type of its element: bools are ``i32`` 0 or 1, float16 and bfloat16 their bits in ``u16``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ronn_codegen.loops.language import BITS, FLOATS, HALVES, INTEGERS, LoopError


class Term(NamedTuple):
    """A value in C: a name or a literal, its loop type, and the number of a constant."""

    text: str
    dtype: str
    number: float | int | None = None


def c_type(dtype: str) -> str:
    """The C type that values of a loop type are computed in."""
    return {"bool": "i32", "f16": "u16", "bf16": "u16"}.get(dtype, dtype)


def literal(number: float | int, dtype: str) -> str:
    """A constant of a loop type, exactly."""
    if dtype == "bool":
        return str(int(number))
    if dtype in FLOATS:
        return _float(float(number), dtype)
    if dtype in HALVES:
        raise LoopError(f"a constant of {dtype}")
    number = int(number)
    if -(1 << 31) < number < 1 << 31:
        return f"(({dtype}){number})" if BITS[dtype] == 64 else str(number)
    return f"(({dtype})0x{number & ((1 << BITS[dtype]) - 1):x}u)"


def _float(x: float, dtype: str) -> str:
    if math.isnan(x):
        return "NAN" if dtype == "f32" else "((f64)NAN)"
    if math.isinf(x):
        text = "INFINITY" if dtype == "f32" else "((f64)INFINITY)"
        return text if x > 0 else f"(-{text})"
    if dtype == "f32":
        import numpy as np

        text = str(np.float32(x))
    else:
        text = repr(x)
    text = text if "." in text or "e" in text else f"{text}.0"
    text += "f" if dtype == "f32" else ""
    return f"({text})" if text.startswith("-") else text


def constant(number: float | int, dtype: str) -> Term:
    return Term(literal(number, dtype), dtype, number)


def apply(op: str, dtype: str, args: Sequence[Term]) -> str:
    """The expression of ``op``, which gives ``dtype``."""
    if op == "cast":
        return cast(args[0], dtype)
    if op == "bits":
        return _bits(args[0], dtype)
    return OPERATIONS[op](*args)


# --- arithmetic


def _wide(dtype: str) -> str:
    """The unsigned type that integers of a type are added and multiplied in: it wraps, and is not promoted."""
    return "u64" if BITS[dtype] == 64 else "u32"


def _arithmetic(sign: str) -> Callable[[Term, Term], str]:
    def write(a: Term, b: Term) -> str:
        if a.dtype in FLOATS:
            return f"{a.text} {sign} {b.text}"
        wide = _wide(a.dtype)
        return f"({a.dtype})(({wide}){a.text} {sign} ({wide}){b.text})"

    return write


def _compare(sign: str) -> Callable[[Term, Term], str]:
    return lambda a, b: f"{a.text} {sign} {b.text}"


def _bitwise(sign: str) -> Callable[[Term, Term], str]:
    return lambda a, b: f"({c_type(a.dtype)})({a.text} {sign} {b.text})"


def _call(name: str) -> Callable[..., str]:
    return lambda *args: f"{name}({', '.join(a.text for a in args)})"


def _of_type(name: str) -> Callable[..., str]:
    """A function with the type in its name, from ``functions``."""
    return lambda *args: f"{name}_{args[0].dtype}({', '.join(a.text for a in args)})"


def _extreme(sign: str) -> Callable[[Term, Term], str]:
    """NaN where either is; ``sign`` is how the first stands to the second when the second is taken."""

    def write(a: Term, b: Term) -> str:
        if a.dtype in FLOATS:
            if a.number is not None and a.number == a.number:
                a, b = b, a
            if b.number is None or b.number != b.number:
                return f"{a.text} {sign} {b.text} || {b.text} != {b.text} ? {b.text} : {a.text}"
        return f"{a.text} {sign} {b.text} ? {b.text} : {a.text}"

    return write


def _neg(a: Term) -> str:
    return f"-{a.text}" if a.dtype in FLOATS else f"({a.dtype})(0u - ({_wide(a.dtype)}){a.text})"


def _abs(a: Term) -> str:
    if a.dtype in FLOATS:
        return f"fabs({a.text})"
    return f"{a.text} < 0 ? {_neg(a)} : {a.text}" if a.dtype.startswith("i") else a.text


def _not(a: Term) -> str:
    return f"!{a.text}" if a.dtype == "bool" else f"({a.dtype})~{a.text}"


def _divide(a: Term, b: Term) -> str:
    return f"{a.text} / {b.text}" if a.dtype in FLOATS else f"div_{a.dtype}({a.text}, {b.text})"


def _select(condition: Term, a: Term, b: Term) -> str:
    return f"{condition.text} ? {a.text} : {b.text}"


OPERATIONS: dict[str, Callable[..., str]] = {
    "add": _arithmetic("+"), "sub": _arithmetic("-"), "mul": _arithmetic("*"), "div": _divide, "rem": _of_type("rem"),
    "max": _extreme("<"), "min": _extreme(">"), "pow": _of_type("pow"), "copysign": _call("copysign"),
    "and": _bitwise("&"), "or": _bitwise("|"), "xor": _bitwise("^"), "not": _not, "shl": _of_type("shl"),
    "shr": _of_type("shr"), "lt": _compare("<"), "le": _compare("<="), "eq": _compare("=="), "ne": _compare("!="),
    "isnan": lambda a: f"{a.text} != {a.text}", "neg": _neg, "abs": _abs, "select": _select, "fma": _call("fma"),
    **{name: _call(name) for name in ("floor", "ceil", "rint", "trunc", "sqrt", "sin", "cos", "tan", "asin",
                                      "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh")},
    **{name: _of_type(name) for name in ("exp", "log", "expm1", "log1p", "tanh", "erf", "sigmoid")},
}  # fmt: skip


# --- conversions


def cast(x: Term, dtype: str) -> str:
    """By value. Integers wrap; floats to integers truncate."""
    source, text = x.dtype, x.text
    if source == dtype:
        return text
    if source in HALVES:
        wide = f"f32_of_{source}({text})"
        return wide if dtype == "f32" else cast(Term(wide, "f32"), dtype)
    if dtype in HALVES:
        return _to_half(x, dtype)
    if dtype == "bool":
        return f"{text} != 0"
    if source in FLOATS and dtype in INTEGERS:
        through = {"u32": "i64", "u64": "u64"}.get(dtype, dtype if BITS[dtype] >= 32 else "i32")
        return f"({dtype}){text}" if through == dtype else f"({dtype})({through}){text}"
    return f"({dtype}){text}"


def _to_half(x: Term, dtype: str) -> str:
    if x.dtype == "f64":
        return f"{dtype}_of_f32(odd_f32({x.text}))"
    if x.dtype == "f32":
        return f"{dtype}_of_f32({x.text})"
    if dtype == "bf16" and x.dtype != "bool" and BITS[x.dtype] >= 32:
        return f"bf16_of_f32(odd_f32((f64){x.text}))"
    return f"{dtype}_of_f32((f32){x.text})"


def _bits(x: Term, dtype: str) -> str:
    if x.dtype == dtype:
        return x.text
    bits = BITS[dtype]
    whole = f"AS_U{bits}({x.text})" if x.dtype in FLOATS else f"(u{bits}){x.text}"
    if dtype in FLOATS:
        return f"AS_F{bits}({whole})"
    return whole if c_type(dtype) == f"u{bits}" else f"({dtype}){whole}"
