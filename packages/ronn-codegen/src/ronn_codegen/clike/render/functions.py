"""Functions that expressions of loops call, in C: those with an element type in their name (``exp_f32``, ``div_i8``).

``functions_in`` gives the text of those that a text uses, each between guards, so that texts can stand together.
"""

from __future__ import annotations

import re

from ronn_codegen.clike.render.elementary import ELEMENTARY
from ronn_codegen.loops.language import BITS, INTEGERS

_NAME = re.compile(r"\b[a-z]\w*_(?:of_)?(?:bf16|[fiu]\d+)\b")


def functions_in(text: str) -> str:
    """The definitions of the functions that ``text`` calls, and of those that these call, in order."""
    found: dict[str, str] = {}
    seen: set[str] = set()

    def need(text: str) -> None:
        for name in dict.fromkeys(_NAME.findall(text)):
            if name not in seen and name in FUNCTIONS:
                seen.add(name)
                need(FUNCTIONS[name])
                found[name] = FUNCTIONS[name]

    need(text)
    return "".join(f"#ifndef HAS_{n}\n#define HAS_{n}\n{t.strip()}\n#endif\n" for n, t in found.items())


def _integer(t: str) -> dict[str, str]:
    bits, signed = BITS[t], t.startswith("i")
    wide = "u64" if bits == 64 else "u32"
    one_less = f" : b == -1 ? ({t})(0u - ({wide})a)" if signed else ""
    safe = "b == 0 || b == -1" if signed else "b == 0"
    right = f"a >> (({wide})b > {bits - 1}u ? {bits - 1} : b)" if signed else f"b > {bits - 1}u ? 0 : a >> b"
    return {
        f"div_{t}": f"""
/* Toward zero; by zero gives 0. */
DEVICE {t} div_{t}({t} a, {t} b) {{ const {t} q = a / ({safe} ? 1 : b); return b == 0 ? 0{one_less} : q; }}""",
        f"rem_{t}": f"""
/* With the sign of a; by zero gives 0. */
DEVICE {t} rem_{t}({t} a, {t} b) {{ return {safe} ? 0 : a % ({safe} ? 1 : b); }}""",
        f"shl_{t}": f"""
DEVICE {t} shl_{t}({t} a, {t} b) {{ return ({wide})b > {bits - 1}u ? 0 : ({t})(({wide})a << (b & {bits - 1})); }}""",
        f"shr_{t}": f"""
DEVICE {t} shr_{t}({t} a, {t} b) {{ return {right}; }}""",
    }


FUNCTIONS = {
    "f32_of_f16": """
/* Scaling by a power of two moves the exponent, subnormals included; what is infinite or NaN stays so. */
DEVICE f32 f32_of_f16(u16 h)
{
    const u32 magnitude = (u32)(h & 0x7FFF) << 13;
    const u32 scaled = AS_U32(AS_F32(magnitude) * 5.192296858534828e33f);
    const u32 bits = magnitude < 0x0F800000u ? scaled : magnitude | 0x7F800000u;
    return AS_F32(bits | (u32)(h & 0x8000) << 16);
}""",
    "f16_of_f32": """
/* Half to even. Below 2**-14 adding 0.5 leaves the subnormal in the low bits, rounded by the addition. */
DEVICE u16 f16_of_f32(f32 x)
{
    const u32 bits = AS_U32(x), magnitude = bits & 0x7FFFFFFFu;
    const u32 small = AS_U32(AS_F32(magnitude) + 0.5f) - 0x3F000000u;
    const u32 normal = (magnitude + (((magnitude >> 13) & 1) + 0xFFFu) - 0x38000000u) >> 13;
    u32 y = magnitude < 0x38800000u ? small : normal;
    y = magnitude < 0x477FF000u ? y : 0x7C00u;
    y = x != x ? ((magnitude >> 13) & 0x3FF) | 0x7E00u : y;
    return (u16)(y | ((bits >> 16) & 0x8000u));
}""",
    "f32_of_bf16": """
DEVICE f32 f32_of_bf16(u16 h) { return AS_F32((u32)h << 16); }""",
    "bf16_of_f32": """
/* Half to even. */
DEVICE u16 bf16_of_f32(f32 x)
{
    const u32 bits = AS_U32(x);
    return x != x ? (u16)((bits >> 16) | 0x40u) : (u16)((bits + (((bits >> 16) & 1) + 0x7FFFu)) >> 16);
}""",
    "odd_f32": """
/* Rounded to odd: rounding that again to fewer bits gives what rounding once would. */
DEVICE f32 odd_f32(f64 x)
{
    const f32 y = (f32)x;
    const f64 back = (f64)y;
    const u32 bits = AS_U32(y) - (fabs(x) < fabs(back) ? 1u : 0u);
    return back == x || x != x ? y : AS_F32(bits | 1u);
}""",
    **ELEMENTARY,
    **{f"{name}_f64": f"\nDEVICE f64 {name}_f64(f64 x) {{ return {name}(x); }}"
       for name in ("exp", "log", "expm1", "log1p", "tanh", "erf")},
    "sigmoid_f64": "\nDEVICE f64 sigmoid_f64(f64 x) { return 1 / (1 + exp_f64(-x)); }",
    **{f"pow_{t}": f"\nDEVICE {t} pow_{t}({t} x, {t} y) {{ return pow(x, y); }}" for t in ("f32", "f64")},
}  # fmt: skip
for _type in sorted(INTEGERS):
    FUNCTIONS.update(_integer(_type))
