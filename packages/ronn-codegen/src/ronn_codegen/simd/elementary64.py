"""Elementary functions on float64 vectors, and what float32 takes through float64: pow and the rarer functions.

Series are Taylor's, long enough for float64 on their reduced range; tanh and atan use Cephes' rational functions.
Within 4 ulp of float64 (pow: times the size of y log2 x), so that float32 results through them are rounded once, but
for sinh, tanh, asinh and atanh next to 0, which take a short series there.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ronn_codegen.series import ERF_TAYLOR, ERFC_CHEBYSHEV
from ronn_codegen.simd.elementary import _WIDE_ROUNDER, _WIDE_ROUNDER_BITS, _trigonometric_parts, horner
from ronn_codegen.simd.vectors import Vector, copysign, fma, largest, select, smallest, sqrt

_EXP = tuple(1 / math.factorial(n) for n in range(2, 15))
_ATANH = tuple(2.0 / (2 * k + 3) for k in range(11))
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TANH_P = (-1.61468768441708447952e3, -9.92877231001918586564e1, -9.64399179425052238628e-1)
_TANH_Q = (4.84406305325125486048e3, 2.23548839060100448583e3, 1.12811678491632931402e2, 1.0)
_ATAN_P = (
    -6.485021904942025371773e1, -1.228866684490136173410e2, -7.500855792314704667340e1, -1.615753718733365076637e1,
    -8.750608600031904122785e-1,
)  # fmt: skip
_ATAN_Q = (
    1.945506571482613964425e2, 4.853903996359136964868e2, 4.328810604912902668951e2, 1.650270098316988542046e2,
    2.485846490142306297962e1, 1.0,
)  # fmt: skip
_SIN = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 9))
_COS = tuple((-1) ** n / math.factorial(2 * n) for n in range(2, 10))


def _power_of_two(n: Vector) -> Vector:
    """2 ** n for int64 lanes n in [-1022, 1023]."""
    return ((n + 1023) << 52).as_("f64")


def exp(x: Vector) -> Vector:
    x = smallest(710.0, largest(-746.0, x))
    shifted = fma(x, 1.4426950408889634, _WIDE_ROUNDER)
    n = shifted - _WIDE_ROUNDER
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    y = fma(horner(r, _EXP) * r, r, r) + 1.0
    whole = shifted.as_("i64") - _WIDE_ROUNDER_BITS
    # An arithmetic shift of 64-bit lanes is slow before AVX-512: halve as int32.
    half = (whole.to("i32") >> 1).to("i64")
    return y * _power_of_two(half) * _power_of_two(whole - half)


def expm1(x: Vector) -> Vector:
    """exp(x) - 1, by the series itself next to 0."""
    near = fma(horner(x, _EXP) * x, x, x)
    return select(abs(x) < 0.34, near, exp(x) - 1.0)


def log(x: Vector) -> Vector:
    small = x < 2.2250738585072014e-308
    bits = select(small, x * 2.0**54, x).as_("i64")
    exponent = (bits.as_("u64") >> 52).as_("i64").to("i32").to("f64")
    exponent = select(small, exponent - 54.0, exponent) - 1022.0
    m = ((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000).as_("f64")
    low = m < 0.7071067811865476
    m = select(low, m + m, m)
    exponent = select(low, exponent - 1.0, exponent)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    # log(1 + f) = f - f**2 / 2 + s (f**2 / 2 + z R(z)) with R of the series of atanh, as fdlibm has it.
    r = horner(z, _ATANH) * z
    y = f - (half_square - (s * (half_square + r) + exponent * _LN2_LOW))
    y = fma(exponent, _LN2_HIGH, y)
    y = select(x.equals(math.inf), x, y)
    y = select(x.equals(0.0), -math.inf, y)
    y = select(x < 0.0, math.nan, y)
    return select(x.is_nan(), x, y)


def log1p(x: Vector) -> Vector:
    """log(1 + x), corrected by what rounding 1 + x lost."""
    u = x + 1.0
    lost = x - (u - 1.0)
    y = log(u) + select(u > 0.0, lost / u, 0.0)
    y = select(abs(x) < 1e-17, x, y)
    return select(x.equals(math.inf), x, y)


def sigmoid(x: Vector) -> Vector:
    e = exp(-abs(x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


def tanh(x: Vector) -> Vector:
    a = abs(x)
    z = x * x
    near = fma(x * z, horner(z, _TANH_P) / horner(z, _TANH_Q), x)
    far = copysign(1.0 - 2.0 / (exp(a + a) + 1.0), x)
    return select(a < 0.625, near, far)


def erf(x: Vector) -> Vector:
    a = abs(x)
    near = x * horner(smallest(1.0, x * x), ERF_TAYLOR)
    # erfc(a) = exp(-a**2) t T(2 t - 1), t = 2 / (2 + a), T a Chebyshev series, by Clenshaw's recurrence.
    t = 2.0 / (a + 2.0)
    twice = (t * 2.0 - 1.0) * 2.0
    first, second = a.const(0.0), a.const(0.0)
    for c in reversed(ERFC_CHEBYSHEV[1:]):
        first, second = fma(twice, first, c - second), first
    series = fma(twice * 0.5, first, ERFC_CHEBYSHEV[0] - second)
    far = copysign(1.0 - exp(-(a * a)) * t * series, x)
    far = select(a > 6.0, copysign(a.const(1.0), x), far)
    return select(x.is_nan(), x, select(a < 0.9, near, far))


def _quadrant(x: Vector) -> tuple[Vector, Vector, Vector]:
    """sin and cos of the reduced argument, and the quadrant (i64)."""
    r, quadrant = _trigonometric_parts(x)
    z = r * r
    return fma(horner(z, _SIN) * z, r, r), fma(horner(z, _COS) * z, z, z * -0.5) + 1.0, quadrant


def sin(x: Vector) -> Vector:
    return _turned(x, 0)


def cos(x: Vector) -> Vector:
    return _turned(x, 1)


def _turned(x: Vector, shift: int) -> Vector:
    sine, cosine, quadrant = _quadrant(x)
    quadrant = quadrant + shift
    y = select((quadrant & 1).equals(1), cosine, sine)
    return (y.as_("i64") ^ ((quadrant & 2) << 62)).as_("f64")


def tan(x: Vector) -> Vector:
    sine, cosine, quadrant = _quadrant(x)
    odd = (quadrant & 1).equals(1)
    return select(odd, -cosine, sine) / select(odd, sine, cosine)


def atan(x: Vector) -> Vector:
    a = abs(x)
    steep, middle = a > 2.414213562373095, a > 0.66
    reduced = select(steep, -1.0 / a, select(middle, (a - 1.0) / (a + 1.0), a))
    start = select(steep, a.const(math.pi / 2), select(middle, a.const(math.pi / 4), 0.0))
    z = reduced * reduced
    y = fma(reduced * z, horner(z, _ATAN_P) / horner(z, _ATAN_Q), reduced)
    return copysign(start + y, x)


def asin(x: Vector) -> Vector:
    return atan(x / sqrt((1.0 - x) * (x + 1.0)))


def acos(x: Vector) -> Vector:
    return atan(sqrt((1.0 - x) / (x + 1.0))) * 2.0


def sinh(x: Vector) -> Vector:
    half = exp(abs(x) * 0.5)  # in two steps: exp(x) overflows before sinh(x) does
    far = copysign(half * (half * 0.5) - 0.5 / half / half, x)
    return select(
        abs(x) < 0.3, _odd_series(x, (1 / 6, 1 / 120, 1 / 5040, 1 / 362880, 1 / 39916800, 1 / 6227020800)), far
    )


def cosh(x: Vector) -> Vector:
    half = exp(abs(x) * 0.5)
    return half * (half * 0.5) + 0.5 / half / half


def asinh(x: Vector) -> Vector:
    a = abs(x)
    large = a > 1e9
    square = a * a
    root = sqrt(square + 1.0)
    far = select(large, log(a) + math.log(2), log1p(a + square / (root + 1.0)))
    return copysign(select(a < 1e-9, a, far), x)


def acosh(x: Vector) -> Vector:
    t = x - 1.0
    y = select(x > 1e9, log(x) + math.log(2), log1p(t + sqrt(t * (t + 2.0))))
    return select(x < 1.0, math.nan, y)


def atanh(x: Vector) -> Vector:
    a = abs(x)
    return copysign(log1p(a * 2.0 / (1.0 - a)) * 0.5, x)


def _odd_series(x: Vector, coefficients: tuple[float, ...]) -> Vector:
    z = x * x
    return fma(horner(z, coefficients) * z, x, x)


def nearest(x: Vector) -> Vector:
    """Rounded half to even, without an instruction for it."""
    a = abs(x)
    big = 2.0**52 if x.vec.elem == "f64" else 2.0**23
    return select(a < big, copysign((a + big) - big, x), x)


def floor(x: Vector) -> Vector:
    """The integer below, without an instruction for it."""
    near = nearest(x)
    return select(x < near, near - 1.0, near)


def ceil(x: Vector) -> Vector:
    near = nearest(x)
    return copysign(select(near < x, near + 1.0, near), x)


def trunc(x: Vector) -> Vector:
    return copysign(floor(abs(x)), x)


def power(x: Vector, y: Vector) -> Vector:
    """x ** y with C's special cases."""
    a = abs(x)
    r = exp(y * log(a))
    one = a.equals(1.0)
    r = select(one, select(y.is_nan(), y, 1.0), r)
    whole = floor(y).equals(y)
    half = y * 0.5
    odd = whole & floor(half).differs(half)
    negative = x.as_("i64") < 0
    r = select(odd & negative, -r, r)
    r = select((x < 0.0) & x.differs(-math.inf) & whole.inverted() & y.equals(y), math.nan, r)
    r = select(y.equals(0.0) | x.equals(1.0), 1.0, r)
    return r


_ALL = (
    exp, expm1, log, log1p, sigmoid, tanh, erf, sin, cos, tan, atan, asin, acos, sinh, cosh, asinh, acosh, atanh,
)  # fmt: skip
FUNCTIONS: dict[str, Callable[[Vector], Vector]] = {f.__name__: f for f in _ALL}
