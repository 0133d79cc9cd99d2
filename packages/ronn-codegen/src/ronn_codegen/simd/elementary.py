"""Elementary functions on float32 vectors, by argument reduction and polynomials, written as LLVM IR.

The polynomials stand in ``coefficients``. Held against float64 over the whole range, in ulp: exp 1.1, log 1.0, tanh
1.5, sigmoid 2.5, erf 2.0, expm1 and log1p 2.0, sin and cos 1.6 (below 2**19; beyond, the error of the argument
reduction grows with the argument). Subnormal results, infinities and NaN are as IEEE 754 says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ronn_codegen.simd.coefficients import (
    ERF,
    EXP,
    LN2_HIGH,
    LN2_LOW,
    LOG,
    LOG2E,
    LOG_ERFC,
    ROUNDER,
    ROUNDER_BITS,
    TANH,
)  # fmt: skip
from ronn_codegen.simd.vectors import Number, Vector, copysign, fma, largest, select, smallest

_SIN = (-0.1666666716337204, 0.008333329111337662, -0.00019839256128761917, 2.7175644845556235e-06)
_COS = (0.0416666679084301, -0.0013888883404433727, 2.479943577782251e-05, -2.7203304853173904e-07)

_WIDE_ROUNDER, _WIDE_ROUNDER_BITS = 1.5 * 2.0**52, 0x4338000000000000


def horner(x: Vector, coefficients: Sequence[Number]) -> Vector:
    """c0 + c1 x + c2 x**2 ... as a chain of fma."""
    y = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        y = fma(y, x, c)
    return y


def exp(x: Vector) -> Vector:
    x = smallest(89.0, largest(-104.0, x))  # beyond these the result is 0 or infinite whatever x is
    shifted = fma(x, LOG2E, ROUNDER)
    n = shifted - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    y = horner(r, EXP)
    # 2**n in two steps, because it may be subnormal or too large itself; both exponents with their bias.
    both = shifted.as_("i32") - (ROUNDER_BITS - 2 * 127)
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
    y = horner(f, LOG) * f * square
    y = fma(exponent, LN2_LOW, y)
    y = fma(square, -0.5, y)
    y = fma(exponent, LN2_HIGH, f + y)
    y = select(x.equals(math.inf), x, y)
    y = select(x.equals(0.0), -math.inf, y)
    y = select(x < 0.0, math.nan, y)
    return select(x.is_nan(), x, y)


def _bounded_exp(x: Vector) -> Vector:
    """exp for |x| below 80, or NaN: the result and 2**n are normal numbers."""
    rounder = ROUNDER + 127.0  # leaves n with its bias in the low bits
    shifted = fma(x, LOG2E, rounder)
    n = shifted - rounder
    y = horner(fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x)), EXP)
    return y * (shifted.as_("i32") << 23).as_("f32")


def expm1(x: Vector) -> Vector:
    """exp(x) - 1 as 2 (t q + (t - 1/2)) with q = exp(r) - 1 and t = 2**(n - 1), which does not cancel."""
    x = smallest(89.0, largest(-87.0, x))
    shifted = fma(x, LOG2E, ROUNDER)
    n = shifted - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    q = fma(horner(r, EXP[2:]) * r, r, r)
    t = ((shifted.as_("i32") - (ROUNDER_BITS - 126)) << 23).as_("f32")
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
    near = fma(horner(square, TANH) * square, x, x)
    far = 1.0 - 2.0 / (_bounded_exp(smallest(19.0, a + a)) + 1.0)
    return copysign(select(a < 0.625, near, far), x)


def erf(x: Vector) -> Vector:
    a = abs(x)
    near = fma(horner(x * x, ERF), x, x)
    far = copysign(1.0 - _bounded_exp(horner(smallest(4.0, a), LOG_ERFC)), x)
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
