"""Element types of eight bits and fewer that are stored in a byte each: what their codes mean, in the loop language.

Integers keep their low bits, the bits above are 0. Floats are sign, exponent and mantissa; converting to them rounds
half to even.
"""

from __future__ import annotations

from ronn.records import dataclass
from ronn_codegen.loops.language import FLOATS
from ronn_codegen.loops.write import Value, where


@dataclass(frozen=True, slots=True)
class Format:
    """A small float: bits of the mantissa, bias of the exponent, the largest finite value, the codes of NaN and
    infinity (-1: it has none); ``unsigned_zero``: the code of -0 is NaN."""

    mantissa: int
    bias: int
    largest: float
    nan: int
    infinity: int = -1
    unsigned_zero: bool = False
    sign: int = 0x80


FORMATS = {
    "f8e4m3fn": Format(3, 7, 448.0, 0x7F),
    "f8e4m3fnuz": Format(3, 8, 240.0, 0x80, unsigned_zero=True),
    "f8e5m2": Format(2, 15, 57344.0, 0x7E, 0x7C),
    "f8e5m2fnuz": Format(2, 16, 57344.0, 0x80, unsigned_zero=True),
    "f4e2m1": Format(1, 1, 6.0, 0x8, sign=0x8),
}
WIDTHS = {"i4": 4, "u4": 4, "i2": 2, "u2": 2}
SMALL = frozenset({*FORMATS, *WIDTHS, "f8e8m0"})
_FRACTION, _EXPONENT = 0x7FFFFF, 0x7F800000


def decode(code: Value, name: str) -> Value:
    """The value of a byte: f32 for floats, i32 for integers."""
    bits = code.cast("u32")
    if name in WIDTHS:
        width = WIDTHS[name]
        if name[0] == "u":
            return (bits & ((1 << width) - 1)).cast("i32")
        return bits.do("shl", 32 - width).cast("i32").do("shr", 32 - width)
    if name == "f8e8m0":
        value = where(bits.eq(0), 0x00400000, bits.do("shl", 23)).bits("f32")
        return where(bits.eq(0xFF), float("nan"), value)
    f = FORMATS[name]
    magnitude = bits & (f.sign - 1)
    value = magnitude.do("shl", 23 - f.mantissa).bits("f32") * 2.0 ** (127 - f.bias)
    value = where((bits & f.sign).ne(0), -value, value)
    if f.infinity >= 0:
        infinite = where((bits & f.sign).ne(0), value.const(float("-inf")), float("inf"))
        value = where(magnitude.eq(f.infinity), infinite, value)
        return where(magnitude > f.infinity, float("nan"), value)
    if f.sign == 0x8:
        return value  # all codes are numbers
    return where((bits if f.unsigned_zero else magnitude).eq(f.nan), float("nan"), value)


def encode(value: Value, name: str, saturate: bool = True, up: str = "up") -> Value:
    """The byte (u8) of a value. ``saturate``: what is too large becomes the largest, not infinity or NaN; ``up`` is
    the rounding of f8e8m0: up, down or nearest."""
    if name in WIDTHS:
        return (value.cast("i32") & ((1 << WIDTHS[name]) - 1)).cast("u8")
    x = _rounded_to_odd(value) if value.dtype == "f64" else value.cast("f32")
    if name == "f8e8m0":
        return _encode_exponent(x, saturate, up)
    f = FORMATS[name]
    bits = x.bits("u32")
    magnitude = abs(x)
    if saturate or f.sign == 0x8:
        magnitude = magnitude.min(f.largest)
    # The distance of neighbours in the format at this magnitude; at least that of subnormal numbers.
    step = (magnitude.bits("u32") & _EXPONENT).bits("f32").max(2.0 ** (1 - f.bias)) * 2.0**-f.mantissa
    nearest = (magnitude / step).do("rint") * step
    code = (nearest * 2.0 ** (f.bias - 127)).bits("u32").do("shr", 23 - f.mantissa)
    negative = bits.do("shr", 31).ne(0)
    if f.unsigned_zero:
        negative = negative & code.ne(0)
    signed = where(negative, code | f.sign, code)
    beyond = f.infinity if f.infinity >= 0 else f.nan
    if not saturate and f.sign != 0x8:
        worst = code.const(beyond)
        over = (nearest > f.largest) | magnitude.eq(float("inf"))
        signed = where(over, worst if f.unsigned_zero else where(negative, worst | f.sign, worst), signed)
    return where(x.do("isnan"), f.nan, signed).cast("u8")


def _encode_exponent(x: Value, saturate: bool, mode: str) -> Value:
    bits = x.bits("u32")
    exponent, fraction = bits.do("shr", 23) & 0xFF, bits & _FRACTION
    if mode == "up":
        grows = fraction.ne(0)
    elif mode == "nearest":
        grows = (fraction > 0x400000) | (fraction.eq(0x400000) & (exponent > 0))
    else:
        grows = fraction.ne(fraction)
    grown = where(grows, exponent + 1, exponent)
    if saturate:
        return where(x.do("isnan"), 0xFF, grown.min(0xFE)).cast("u8")
    return where(exponent.eq(0xFF) | x.eq(0.0), 0xFF, grown).cast("u8")


def _rounded_to_odd(x: Value) -> Value:
    """float64 to float32 such that rounding again gives what rounding once would."""
    y = x.cast("f32")
    back = y.cast("f64")
    bits = y.bits("u32")
    bits = where(abs(x) < abs(back), bits - 1, bits)
    return where(back.eq(x) | x.do("isnan"), y.bits("u32"), bits | 1).bits("f32")


def is_float(name: str) -> bool:
    """Whether a type, small or not, is a floating one."""
    return name in FORMATS or name == "f8e8m0" or name in FLOATS or name in ("f16", "bf16")
