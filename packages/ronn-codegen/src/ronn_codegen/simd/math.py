"""Elementary functions on float32 vectors, by argument reduction and polynomials.

The polynomials are minimax fits (Remez exchange at 40 digits, weighted for the relative error of the function), rounded
to float32. Held against float64 over the whole range, in ulp: exp 1.1, log 1.0, tanh 1.5, sigmoid 2.5, erf 2.0, sin
and cos 1.6 (below 2**19; beyond, the error of the argument reduction grows with the argument). Subnormal results,
infinities and NaN are as IEEE 754 says.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.ops import absolute, copysign, fma, rint, select

_f = np.float32
_EXP = tuple(map(_f, (0.5, 0.16666512191295624, 0.0416661873459816, 0.008369598537683487, 0.0013951718574389815)))
_LOG = tuple(map(_f, (
    0.3333331048488617, -0.24999986588954926, 0.20002226531505585, -0.16669251024723053, 0.14218664169311523,
    -0.12384335696697235, 0.11872926354408264, -0.1178985983133316, 0.06915533542633057,
)))  # fmt: skip
_TANH = tuple(map(_f, (
    -0.3333328366279602, 0.13331490755081177, -0.05374349653720856, 0.02065058797597885, -0.005717045161873102,
)))  # fmt: skip
_ERF = tuple(
    map(
        _f,
        (
            0.128379225730896,
            -0.37612631916999817,
            0.11283687502145767,
            -0.026858940720558167,
            0.005199906881898642,
            -0.0008130013011395931,
            8.316776074934751e-05,
        ),
    )
)  # fmt: skip  (the first one less 1)
_LOG_ERFC = tuple(map(_f, (
    -0.00019567913841456175, -1.1276756525039673, -0.6371822953224182, -0.10393157601356506, 0.022226909175515175,
    -0.0030432145576924086, 0.0001959369401447475,
)))  # fmt: skip
_SIN = tuple(map(_f, (-0.1666666716337204, 0.008333329111337662, -0.00019839256128761917, 2.7175644845556235e-06)))
_COS = tuple(map(_f, (0.0416666679084301, -0.0013888883404433727, 2.479943577782251e-05, -2.7203304853173904e-07)))

_LOG2E = _f(1.4426950408889634)
# ln 2 in two parts; the first has so few bits that its products with exponents are exact.
_LN2_HIGH, _LN2_LOW = _f(0.693359375), _f(-2.1219444005469057e-4)
_ZERO, _HALF, _ONE, _TWO = _f(0), _f(0.5), _f(1), _f(2)


def _compile(fn: Any) -> Any:
    return njit(forceinline=True, error_model="numpy", nogil=True, no_cpython_wrapper=True)(fn)


class VectorMath:
    """The functions for one vector type: ``exp``, ``log``, ``tanh``, ``erf``, ``sigmoid``, ``sin``, ``cos``."""

    def __init__(self, vector: VectorType) -> None:
        self.exp = _make_exp(vector)
        self.log = _make_log(vector)
        self.sigmoid = _make_sigmoid(vector, self.exp)
        self.tanh = _make_tanh(vector, self.exp)
        self.erf = _make_erf(vector, self.exp)
        self.sin, self.cos = _make_trigonometry(vector)


@cache
def vector_math(lanes: int) -> VectorMath:
    """The functions on ``f32`` vectors of so many lanes."""
    return VectorMath(VectorType("f32", lanes))


def _horner(vector: VectorType, coefficients: tuple[np.float32, ...]) -> Any:
    """c0 + c1 * x + c2 * x**2 ..., compiled as a chain of fma."""
    names = [f"c{i}" for i in range(len(coefficients))]
    body = f"splat({names[-1]})"
    for name in reversed(names[:-1]):
        body = f"fma({body}, x, splat({name}))"
    scope: dict[str, Any] = {"splat": vector.splat, "fma": fma, **dict(zip(names, coefficients, strict=True))}
    exec(f"def polynomial(x):\n    return {body}\n", scope)
    return _compile(scope["polynomial"])


def _power_of_two(vector: VectorType) -> Any:
    """2 ** n for int32 lanes n in [-126, 127]."""
    int_splat, to_float = VectorType("i32", vector.lanes).splat, ops.bitcast("f32")
    bias, places = np.int32(127), np.int32(23)

    @_compile
    def power_of_two(n: Any) -> Any:
        return to_float(ops.shift_left(ops.add(n, int_splat(bias)), int_splat(places)))

    return power_of_two


def _make_exp(vector: VectorType) -> Any:
    splat, to_int = vector.splat, ops.convert("i32")
    series, power_of_two = _horner(vector, _EXP), _power_of_two(vector)
    int_splat, one_bit = VectorType("i32", vector.lanes).splat, np.int32(1)
    low, high = _f(-104.0), _f(89.0)  # beyond these the result is 0 or infinite whatever x is

    @_compile
    def exp(x: Any) -> Any:
        x = select(ops.less(x, splat(low)), splat(low), x)
        x = select(ops.less(splat(high), x), splat(high), x)
        n = rint(ops.mul(x, splat(_LOG2E)))
        r = fma(n, splat(-_LN2_HIGH), x)
        r = fma(n, splat(-_LN2_LOW), r)
        y = ops.add(fma(ops.mul(series(r), r), r, r), splat(_ONE))
        # In two steps, because 2**n itself may be subnormal or too large.
        whole = to_int(n)
        half = ops.shift_right(whole, int_splat(one_bit))
        return ops.mul(ops.mul(y, power_of_two(half)), power_of_two(ops.sub(whole, half)))

    return exp


def _make_log(vector: VectorType) -> Any:
    splat, lanes = vector.splat, vector.lanes
    int_splat = VectorType("i32", lanes).splat
    to_bits, from_bits, to_float = ops.bitcast("i32"), ops.bitcast("f32"), ops.convert("f32")
    series = _horner(vector, _LOG)
    tiny, lift, lift_log2 = _f(1.1754943508222875e-38), _f(2.0**25), _f(25)
    infinity, nan = _f(np.inf), _f(np.nan)
    mantissa, half_bits, bias, places = np.int32(0x007FFFFF), np.int32(0x3F000000), np.int32(126), np.int32(23)
    root = _f(0.7071067811865476)

    @_compile
    def log(x: Any) -> Any:
        small = ops.less(x, splat(tiny))
        scaled = select(small, ops.mul(x, splat(lift)), x)
        bits = to_bits(scaled)
        exponent = to_float(ops.sub(ops.shift_right(bits, int_splat(places)), int_splat(bias)))
        exponent = select(small, ops.sub(exponent, splat(lift_log2)), exponent)
        m = from_bits(ops.bit_or(ops.bit_and(bits, int_splat(mantissa)), int_splat(half_bits)))
        low = ops.less(m, splat(root))
        m = select(low, ops.add(m, m), m)
        exponent = select(low, ops.sub(exponent, splat(_ONE)), exponent)
        f = ops.sub(m, splat(_ONE))
        square = ops.mul(f, f)
        y = ops.mul(ops.mul(series(f), f), square)
        y = fma(exponent, splat(_LN2_LOW), y)
        y = fma(square, splat(-_HALF), y)
        y = fma(exponent, splat(_LN2_HIGH), ops.add(f, y))
        y = select(ops.equal(x, splat(infinity)), x, y)
        y = select(ops.equal(x, splat(_ZERO)), splat(-infinity), y)
        y = select(ops.less(x, splat(_ZERO)), splat(nan), y)
        return select(ops.not_equal(x, x), x, y)

    return log


def _make_sigmoid(vector: VectorType, exp: Any) -> Any:
    splat = vector.splat

    @_compile
    def sigmoid(x: Any) -> Any:
        e = exp(ops.neg(absolute(x)))
        return ops.div(select(ops.less(x, splat(_ZERO)), e, splat(_ONE)), ops.add(splat(_ONE), e))

    return sigmoid


def _make_tanh(vector: VectorType, exp: Any) -> Any:
    splat, series, border = vector.splat, _horner(vector, _TANH), _f(0.625)

    @_compile
    def tanh(x: Any) -> Any:
        a = absolute(x)
        square = ops.mul(x, x)
        near = fma(ops.mul(series(square), square), x, x)
        far = ops.sub(splat(_ONE), ops.div(splat(_TWO), ops.add(exp(ops.add(a, a)), splat(_ONE))))
        return copysign(select(ops.less(a, splat(border)), near, far), x)

    return tanh


def _make_erf(vector: VectorType, exp: Any) -> Any:
    splat, border, last = vector.splat, _f(0.93), _f(4.0)
    series, log_erfc = _horner(vector, _ERF), _horner(vector, _LOG_ERFC)

    @_compile
    def erf(x: Any) -> Any:
        a = absolute(x)
        near = fma(series(ops.mul(x, x)), x, x)
        t = select(ops.less(splat(last), a), splat(last), a)
        far = copysign(ops.sub(splat(_ONE), exp(log_erfc(t))), x)
        return select(ops.less(a, splat(border)), near, far)

    return erf


def _make_trigonometry(vector: VectorType) -> tuple[Any, Any]:
    """sin and cos. The argument is reduced in float64, with pi / 2 in three parts."""
    splat, lanes = vector.splat, vector.lanes
    wide_splat, int_splat = VectorType("f64", lanes).splat, VectorType("i32", lanes).splat
    widen, narrow, to_int, to_bits, from_bits = (
        ops.convert("f64"), ops.convert("f32"), ops.convert("i32"), ops.bitcast("i32"), ops.bitcast("f32"),
    )  # fmt: skip
    sin_series, cos_series = _horner(vector, _SIN), _horner(vector, _COS)
    two_over_pi = 0.6366197723675814
    # The first two parts have 33 bits: their products with integers below 2**20 are exact.
    high, middle, low = 1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21
    one, two, sign_place = np.int32(1), np.int32(2), np.int32(30)

    @_compile
    def reduced(x: Any, shift: Any) -> Any:
        d = widen(x)
        n = rint(ops.mul(d, wide_splat(two_over_pi)))
        r = fma(n, wide_splat(-high), d)
        r = fma(n, wide_splat(-middle), r)
        r = narrow(fma(n, wide_splat(-low), r))
        quadrant = ops.add(to_int(n), int_splat(shift))
        z = ops.mul(r, r)
        sine = fma(ops.mul(sin_series(z), z), r, r)
        cosine = ops.add(fma(ops.mul(cos_series(z), z), z, ops.mul(z, splat(-_HALF))), splat(_ONE))
        odd = ops.equal(ops.bit_and(quadrant, int_splat(one)), int_splat(one))
        y = select(odd, cosine, sine)
        sign = ops.shift_left(ops.bit_and(quadrant, int_splat(two)), int_splat(sign_place))
        return from_bits(ops.bit_xor(to_bits(y), sign))

    @_compile
    def sin(x: Any) -> Any:
        return reduced(x, np.int32(0))

    @_compile
    def cos(x: Any) -> Any:
        return reduced(x, np.int32(1))

    return sin, cos
