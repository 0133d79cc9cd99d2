"""Elementary functions on float32 in C: argument reduction and polynomials, without branches, so that compilers make
vectors of them. The same as those of ``ronn_codegen.simd.elementary``, where their errors stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from ronn_codegen.clike.render.values import literal
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


def _f(number: float) -> str:
    return literal(number, "f32")


def _horner(x: str, coefficients: Sequence[float]) -> str:
    """c0 + c1 x + c2 x**2 ... as a chain of fma."""
    text = _f(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"fma({text}, {x}, {_f(c)})"
    return text


def _reduced(rounder: str) -> str:
    return f"""\
    const f32 shifted = fma(x, {_f(LOG2E)}, {rounder}), n = shifted - {rounder};
    const f32 r = fma(n, {_f(-LN2_LOW)}, fma(n, {_f(-LN2_HIGH)}, x));"""


ELEMENTARY = {
    "exp_f32": f"""
/* 2**n in two steps, because it may be subnormal or too large itself. */
DEVICE f32 exp_f32(f32 x)
{{
    x = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
{_reduced(_f(ROUNDER))}
    const f32 y = {_horner("r", EXP)};
    const i32 both = (i32)AS_U32(shifted) - {ROUNDER_BITS - 2 * 127}, first = both >> 1;
    return y * AS_F32((u32)first << 23) * AS_F32((u32)(both - first) << 23);
}}""",
    "bounded_exp_f32": f"""
/* exp for |x| below 80, or NaN: the result and 2**n are normal numbers. */
DEVICE f32 bounded_exp_f32(f32 x)
{{
{_reduced(_f(ROUNDER + 127.0))}
    return {_horner("r", EXP)} * AS_F32(AS_U32(shifted) << 23);
}}""",
    "log_f32": f"""
DEVICE f32 log_f32(f32 x)
{{
    const i32 small = x < 1.1754943508222875e-38f;
    const u32 bits = AS_U32(small ? x * 33554432.0f : x);
    const f32 m0 = AS_F32((bits & 0x007FFFFFu) | 0x3F000000u);
    const i32 low = m0 < 0.70710678f;
    const f32 exponent = (f32)(((i32)bits >> 23) - 126 - (small ? 25 : 0) - (low ? 1 : 0));
    const f32 f = (low ? m0 + m0 : m0) - 1.0f, square = f * f;
    f32 y = {_horner("f", LOG)} * f * square;
    y = fma(square, -0.5f, fma(exponent, {_f(LN2_LOW)}, y));
    y = fma(exponent, {_f(LN2_HIGH)}, f + y);
    y = x == 0.0f ? -INFINITY : x < 0.0f ? NAN : y;
    return x == INFINITY || x != x ? x : y;
}}""",
    "expm1_f32": f"""
/* 2 (t q + (t - 1/2)) with q = exp(r) - 1 and t = 2**(n - 1), which does not cancel. */
DEVICE f32 expm1_f32(f32 x)
{{
    x = x > 89.0f ? 89.0f : x < -87.0f ? -87.0f : x;
{_reduced(_f(ROUNDER))}
    const f32 q = fma({_horner("r", EXP[2:])} * r, r, r);
    const f32 t = AS_F32((AS_U32(shifted) - {ROUNDER_BITS - 126}u) << 23);
    return fma(t, q, t - 0.5f) * 2.0f;
}}""",
    "log1p_f32": """
/* log(1 + x), corrected by what rounding 1 + x lost. */
DEVICE f32 log1p_f32(f32 x)
{
    const f32 u = x + 1.0f, lost = u > 0.0f ? (x - (u - 1.0f)) / u : 0.0f;
    const f32 y = fabs(x) < 1e-8f ? x : log_f32(u) + lost;
    return x == INFINITY ? x : y;
}""",
    "sigmoid_f32": """
DEVICE f32 sigmoid_f32(f32 x)
{
    const f32 e = exp_f32(-fabs(x));
    return (x < 0.0f ? e : 1.0f) / (e + 1.0f);
}""",
    "tanh_f32": f"""
DEVICE f32 tanh_f32(f32 x)
{{
    const f32 a = fabs(x), square = x * x, twice = a + a;
    const f32 near = fma({_horner("square", TANH)} * square, x, x);
    const f32 far = 1.0f - 2.0f / (bounded_exp_f32(twice > 19.0f ? 19.0f : twice) + 1.0f);
    return copysign(a < 0.625f ? near : far, x);
}}""",
    "erf_f32": f"""
DEVICE f32 erf_f32(f32 x)
{{
    const f32 a = fabs(x), square = x * x, most = a > 4.0f ? 4.0f : a;
    const f32 near = fma({_horner("square", ERF)}, x, x);
    const f32 far = copysign(1.0f - bounded_exp_f32({_horner("most", LOG_ERFC)}), x);
    return a < 0.93f ? near : far;
}}""",
}
