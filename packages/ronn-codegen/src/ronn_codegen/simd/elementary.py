"""Elementary functions on float32 vectors, by argument reduction and polynomials, written as LLVM IR.

The polynomials are minimax fits (Remez exchange at 40 digits, weighted for the relative error of the function), rounded
to float32. Held against float64 over the whole range, in ulp: exp 1.1, log 1.0, tanh 1.5, sigmoid 2.5, erf 2.0, expm1
and log1p 2.0, sin and cos 1.6 (below 2**19; beyond, the error of the argument reduction grows with the argument).
Subnormal results, infinities and NaN are as IEEE 754 says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ronn_codegen.simd.vectors import Number, Vector, copysign, fma, largest, select, smallest

_EXP = (1.0, 1.0, 0.5, 0.16666512191295624, 0.0416661873459816, 0.008369598537683487, 0.0013951718574389815)
_LOG = (
    0.3333331048488617, -0.24999986588954926, 0.20002226531505585, -0.16669251024723053, 0.14218664169311523,
    -0.12384335696697235, 0.11872926354408264, -0.1178985983133316, 0.06915533542633057,
)  # fmt: skip
_TANH = (
    -0.3333328366279602, 0.13331490755081177, -0.05374349653720856, 0.02065058797597885, -0.005717045161873102,
)  # fmt: skip
_ERF = (  # the first one less 1
    0.128379225730896, -0.37612631916999817, 0.11283687502145767, -0.026858940720558167, 0.005199906881898642,
    -0.0008130013011395931, 8.316776074934751e-05,
)  # fmt: skip
_LOG_ERFC = (
    -0.00019567913841456175, -1.1276756525039673, -0.6371822953224182, -0.10393157601356506, 0.022226909175515175,
    -0.0030432145576924086, 0.0001959369401447475,
)  # fmt: skip
_SIN = (-0.1666666716337204, 0.008333329111337662, -0.00019839256128761917, 2.7175644845556235e-06)
_COS = (0.0416666679084301, -0.0013888883404433727, 2.479943577782251e-05, -2.7203304853173904e-07)

_LOG2E = 1.4426950408889634
# ln 2 in two parts; the first has so few bits that its products with exponents are exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.1219444005469057e-4
# Adding it to a number below 2**22 leaves the nearest integer in the low bits.
_ROUNDER, _ROUNDER_BITS = 1.5 * 2.0**23, 0x4B400000
_WIDE_ROUNDER, _WIDE_ROUNDER_BITS = 1.5 * 2.0**52, 0x4338000000000000


def horner(x: Vector, coefficients: Sequence[Number]) -> Vector:
    """c0 + c1 x + c2 x**2 ... as a chain of fma."""
    y = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        y = fma(y, x, c)
    return y


def exp(x: Vector) -> Vector:
    x = smallest(89.0, largest(-104.0, x))  # beyond these the result is 0 or infinite whatever x is
    shifted = fma(x, _LOG2E, _ROUNDER)
    n = shifted - _ROUNDER
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    y = horner(r, _EXP)
    # 2**n in two steps, because it may be subnormal or too large itself; both exponents with their bias.
    both = shifted.as_("i32") - (_ROUNDER_BITS - 2 * 127)
    first = both >> 1
    return y * (first << 23).as_("f32") * ((both - first) << 23).as_("f32")


def log(x: Vector) -> Vector:
    small = x < 1.1754943508222875e-38
    bits = select(small, x * 2.0**25, x).as_("i32")
    exponent = ((bits >> 23) - 126).to("f32")
    exponent = select(small, exponent - 25.0, exponent)
    m = ((bits & 0x007FFFFF) | 0x3F000000).as_("f32")
    low = m < 0.7071067811865476
    m = select(low, m + m, m)
    exponent = select(low, exponent - 1.0, exponent)
    f = m - 1.0
    square = f * f
    y = horner(f, _LOG) * f * square
    y = fma(exponent, _LN2_LOW, y)
    y = fma(square, -0.5, y)
    y = fma(exponent, _LN2_HIGH, f + y)
    y = select(x.equals(math.inf), x, y)
    y = select(x.equals(0.0), -math.inf, y)
    y = select(x < 0.0, math.nan, y)
    return select(x.is_nan(), x, y)


def _bounded_exp(x: Vector) -> Vector:
    """exp for |x| below 80, or NaN: the result and 2**n are normal numbers."""
    rounder = _ROUNDER + 127.0  # leaves n with its bias in the low bits
    shifted = fma(x, _LOG2E, rounder)
    n = shifted - rounder
    y = horner(fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x)), _EXP)
    return y * (shifted.as_("i32") << 23).as_("f32")


def expm1(x: Vector) -> Vector:
    """exp(x) - 1 as 2 (t q + (t - 1/2)) with q = exp(r) - 1 and t = 2**(n - 1), which does not cancel."""
    x = smallest(89.0, largest(-87.0, x))
    shifted = fma(x, _LOG2E, _ROUNDER)
    n = shifted - _ROUNDER
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    q = fma(horner(r, _EXP[2:]) * r, r, r)
    t = ((shifted.as_("i32") - (_ROUNDER_BITS - 126)) << 23).as_("f32")
    return fma(t, q, t - 0.5) * 2.0


def log1p(x: Vector) -> Vector:
    """log(1 + x), corrected by what rounding 1 + x lost."""
    u = x + 1.0
    lost = select(u > 0.0, (x - (u - 1.0)) / u, 0.0)
    return select(x.equals(math.inf), x, select(abs(x) < 1e-8, x, log(u) + lost))


def sigmoid(x: Vector) -> Vector:
    e = exp(-abs(x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


def tanh(x: Vector) -> Vector:
    a = abs(x)
    square = x * x
    near = fma(horner(square, _TANH) * square, x, x)
    far = 1.0 - 2.0 / (_bounded_exp(smallest(19.0, a + a)) + 1.0)
    return copysign(select(a < 0.625, near, far), x)


def erf(x: Vector) -> Vector:
    a = abs(x)
    near = fma(horner(x * x, _ERF), x, x)
    far = copysign(1.0 - _bounded_exp(horner(smallest(4.0, a), _LOG_ERFC)), x)
    return select(a < 0.93, near, far)


def sin(x: Vector) -> Vector:
    return _trigonometric(x, 0)


def cos(x: Vector) -> Vector:
    return _trigonometric(x, 1)


def _trigonometric_parts(wide: Vector) -> tuple[Vector, Vector]:
    """A float64 argument less the nearest multiple of pi / 2, and the number of that multiple (i64).

    pi / 2 is in three parts, of which the first two have 33 bits: their products with integers below 2**20 are exact.
    """
    shifted = wide * 0.6366197723675814 + _WIDE_ROUNDER
    n = shifted - _WIDE_ROUNDER
    r = fma(n, -1.57079632673412561417e00, wide)
    r = fma(n, -6.07710050630396597660e-11, r)
    r = fma(n, -2.02226624879595063154e-21, r)
    return r, shifted.as_("i64") - _WIDE_ROUNDER_BITS


def _trigonometric(x: Vector, shift: int) -> Vector:
    wide, multiple = _trigonometric_parts(x.to("f64"))
    r, quadrant = wide.to("f32"), multiple.to("i32") + shift
    z = r * r
    sine = fma(horner(z, _SIN) * z, r, r)
    cosine = fma(horner(z, _COS) * z, z, z * -0.5) + 1.0
    y = select((quadrant & 1).equals(1), cosine, sine)
    return (y.as_("i32") ^ ((quadrant & 2) << 30)).as_("f32")


FUNCTIONS = {
    "exp": exp, "log": log, "expm1": expm1, "log1p": log1p, "tanh": tanh, "erf": erf, "sigmoid": sigmoid, "sin": sin,
    "cos": cos,
}  # fmt: skip
