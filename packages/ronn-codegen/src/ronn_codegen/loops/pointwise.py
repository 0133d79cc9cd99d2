"""The lowering of ONNX's elementwise operators to the loop language: one function per operator, for every device.

A function takes the operator's operands through ``Operands`` and gives the value of one element of output 0. float16
and bfloat16 operands come widened to float32; the caller rounds back. ``NotLowered`` says why there is no lowering.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ronn_codegen.loops.language import BITS, INTEGERS
from ronn_codegen.loops.small import FORMATS, SMALL, encode
from ronn_codegen.loops.write import Value, where


class NotLowered(Exception):
    """An operator with these types or attributes has no lowering; the text says why."""


class Operands(Protocol):
    """What a lowering knows of its node."""

    @property
    def op(self) -> str: ...
    @property
    def since(self) -> int:
        """The schema version."""
        ...

    @property
    def dtype(self) -> str:
        """The element type of output 0, as the loop language calls it."""
        ...

    @property
    def count(self) -> int:
        """How many inputs the node has, omitted ones among them."""
        ...

    def attr(self, name: str, default: Any = None) -> Any: ...
    def arg(self, index: int) -> Value:
        """An input, broadcast as NumPy does."""
        ...

    def along(self, index: int, axis: int) -> Value:
        """An input of one dim that belongs to ``axis`` of the output; or of one element."""
        ...

    def has(self, index: int) -> bool:
        """Whether an input is there."""
        ...

    def number(self, index: int) -> float | int | None:
        """The value of an input that is a constant of one element; else None."""
        ...

    def type_of(self, index: int) -> str:
        """The element type of an input as it is stored; operands of small types (``loops.small``) come decoded."""
        ...


Rule = Callable[[Operands], Value]
R = TypeVar("R", bound=Rule)
RULES: dict[tuple[str, str], Rule] = {}


def rule(*ops: str, domain: str = "") -> Callable[[R], R]:
    """Marks the lowering of operators."""

    def mark(fn: R) -> R:
        for op in ops:
            RULES[domain, op] = fn
        return fn

    return mark


def _text(given: Any) -> str:
    return given.decode() if isinstance(given, bytes) else str(given)


def need(condition: Any, why: str) -> None:
    if not condition:
        raise NotLowered(why)


# --- arithmetic

_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "BitwiseAnd": "and", "BitwiseOr": "or",
    "BitwiseXor": "xor", "And": "and", "Or": "or", "Xor": "xor", "Equal": "eq", "Less": "lt", "LessOrEqual": "le",
}  # fmt: skip
_SWAPPED = {"Greater": "lt", "GreaterOrEqual": "le"}
_VARIADIC = {"Sum": "add", "Mean": "add", "Max": "max", "Min": "min"}
_UNARY = {
    "Neg": "neg", "Abs": "abs", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Erf": "erf", "Tanh": "tanh",
    "Sigmoid": "sigmoid", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan",
    "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Floor": "floor",
    "Ceil": "ceil", "Round": "rint", "Not": "not", "BitwiseNot": "not", "IsNaN": "isnan",
}  # fmt: skip


def _aligned(c: Operands) -> tuple[Value, Value]:
    """Both operands; before opset 7 the second one's dims begin at ``axis``, which only one dim is lowered for."""
    axis = c.attr("axis") if c.since < 7 and c.attr("broadcast", 0) else None
    return c.arg(0), c.arg(1) if axis is None else c.along(1, int(axis))


@rule(*_BINARY)
def binary(c: Operands) -> Value:
    a, b = _aligned(c)
    return a.do(_BINARY[c.op], b)


@rule(*_SWAPPED)
def swapped(c: Operands) -> Value:
    a, b = _aligned(c)
    return b.do(_SWAPPED[c.op], a)


@rule(*_VARIADIC)
def variadic(c: Operands) -> Value:
    total = c.arg(0)
    for i in range(1, c.count):
        total = total.do(_VARIADIC[c.op], c.arg(i))
    return total / float(c.count) if c.op == "Mean" else total


@rule(*_UNARY)
def unary(c: Operands) -> Value:
    x = c.arg(0)
    if not x.is_float and c.op in ("Floor", "Ceil", "Round"):
        return x
    need(x.is_float or c.op in ("Neg", "Abs", "Not", "BitwiseNot"), f"{c.op} of {x.dtype}")
    return x.do(_UNARY[c.op])


@rule("Reciprocal")
def reciprocal(c: Operands) -> Value:
    return 1.0 / c.arg(0)


@rule("Sign")
def sign(c: Operands) -> Value:
    x = c.arg(0)
    one = x.const(1)
    negative = where(x < 0, x.const(-1), 0) if not x.dtype.startswith("u") else x.const(0)
    y = where(x > 0, one, negative)
    return where(x.do("isnan"), x, y) if x.is_float else y


@rule("Mod")
def mod(c: Operands) -> Value:
    a, b = c.arg(0), c.arg(1)
    need(a.dtype != "f64", "Mod of float64")
    r = a.do("rem", b) if a.dtype in INTEGERS else _float_remainder(a, b)
    if c.attr("fmod", 0) or a.dtype.startswith("u"):
        return r
    opposite = (r ^ b) < 0 if a.dtype in INTEGERS else (r < 0.0).do("ne", b < 0.0)
    return where(r.ne(0) & opposite, r + b, r)


def _float_remainder(a: Value, b: Value) -> Value:
    """The exact remainder of float32, with the sign of ``a``: in float64, where a product of 24 by 29 bits is exact,
    the quotient is taken off 29 bits at a time."""
    x, y = a.cast("f64"), b.cast("f64")
    for _ in range(10):  # quotients of float32 are below 2**277
        quotient = ((x / y).bits("u64") & 0xFFFFFFFFFF000000).bits("f64").do("trunc")
        x = x - quotient * y
    # A quotient rounded up leaves a remainder of the other sign.
    x = where((x < 0.0).do("ne", a < 0.0) & x.ne(0.0), x + where((y < 0.0).do("ne", a < 0.0), -y, y), x)
    r = where(abs(b).eq(math.inf) & abs(a).ne(math.inf), a, x.cast("f32"))
    return r.do("copysign", a)


@rule("Pow")
def power(c: Operands) -> Value:
    x = c.arg(0)
    exponent = c.number(1)
    if exponent is not None and exponent in _POWERS and (x.is_float or exponent in (1, 2, 3)):
        return _POWERS[exponent](x)
    y = c.arg(1)
    if x.is_float:
        return x.do("pow", y.cast(x.dtype))
    if y.is_float:
        wide = x.cast("f64").do("pow", y.cast("f64"))
        near = wide.do("rint")  # what is a whole number but for rounding must not be truncated to the one before
        return where(abs(wide - near) <= abs(near) * 1e-12, near, wide).cast(x.dtype)
    return _integer_power(x, y)


def _integer_power(x: Value, y: Value) -> Value:
    """By squaring, wrapping. A negative exponent leaves something of 1 and -1 only."""
    result, square = x.const(1), x
    for bit in range(min(BITS[y.dtype], 63)):
        result = where((y & (1 << bit)).ne(0), result * square, result)
        square = square * square
    if y.dtype.startswith("u"):
        return result
    small = where(x.eq(1), x.const(1), 0)
    if x.dtype.startswith("i"):
        small = where(x.eq(-1), where((y & 1).ne(0), x.const(-1), 1), small)
    return where(y < 0, small, result)


_POWERS: dict[float, Callable[[Value], Value]] = {
    1: lambda x: x,
    2: lambda x: x * x,
    3: lambda x: x * x * x,
    0.5: lambda x: where(x.eq(-math.inf), x.const(math.inf), (x + 0.0).do("sqrt")),
    -1: lambda x: 1.0 / x,
    -0.5: lambda x: where(x.eq(-math.inf), x.const(0.0), 1.0 / (x + 0.0).do("sqrt")),
}


@rule("BitShift")
def bit_shift(c: Operands) -> Value:
    return c.arg(0).do("shl" if c.attr("direction") == "LEFT" else "shr", c.arg(1))


@rule("IsInf")
def is_inf(c: Operands) -> Value:
    x = c.arg(0)
    positive, negative = c.attr("detect_positive", 1), c.attr("detect_negative", 1)
    if positive and negative:
        return abs(x).eq(math.inf)
    if positive or negative:
        return x.eq(math.inf if positive else -math.inf)
    return x.ne(x) & x.eq(x)


@rule("Clip")
def clip(c: Operands) -> Value:
    x = c.arg(0)
    if c.since < 11:
        low, high = c.attr("min"), c.attr("max")
        x = x if low is None else x.max(float(low))
        return x if high is None else x.min(float(high))
    for index, op in ((1, "max"), (2, "min")):
        if c.has(index):
            limit = c.number(index)
            x = x.do(op, c.arg(index) if limit is None else limit)
    return x


@rule("Where")
def where_(c: Operands) -> Value:
    return where(c.arg(0), c.arg(1), c.arg(2))


@rule("Cast", "CastLike")
def cast(c: Operands) -> Value:
    if c.dtype in SMALL:
        return encode(c.arg(0), c.dtype, bool(c.attr("saturate", 1)), _text(c.attr("round_mode", "up")))
    return c.arg(0).cast(c.dtype)


@rule("Identity", "Expand", "Dropout")
def same(c: Operands) -> Value:
    need(c.op != "Dropout" or not (c.has(2) and c.number(2) != 0), "training")
    return c.arg(0)


# --- activations


def _sigmoid(x: Value) -> Value:
    return x.do("sigmoid")


def softplus(x: Value) -> Value:
    """log(1 + exp(x)), stable at both ends."""
    return x.max(0.0) + (-abs(x)).do("exp").do("log1p")


def gelu(x: Value) -> Value:
    """x Phi(x)"""
    half = x * 0.5
    return half * (x * math.sqrt(0.5)).do("erf") + half


def gelu_tanh(x: Value) -> Value:
    """The tanh approximation of gelu."""
    half = x * 0.5
    inner = x * (x * x * (0.044715 * math.sqrt(2 / math.pi)) + math.sqrt(2 / math.pi))
    return half * inner.do("tanh") + half


def hard_sigmoid(x: Value, alpha: float, beta: float) -> Value:
    """max(0, min(1, alpha x + beta))"""
    return (x * alpha + beta).max(0.0).min(1.0)


def _below(x: Value, scale: float, gamma: float = 1.0, rate: float = 1.0) -> Value:
    """gamma x above zero, scale (exp(x / rate) - 1) below."""
    low = x.min(0.0)
    low = (low if rate == 1 else low / rate).do("expm1") * scale
    return where(x > 0.0, x if gamma == 1 else x * gamma, low)


ACTIVATIONS: dict[str, Callable[..., Value]] = {
    "Relu": lambda x: x.max(0),
    "Softplus": softplus,
    "Softsign": lambda x: x / (abs(x) + 1.0),
    "HardSwish": lambda x: x * hard_sigmoid(x, 1 / 6, 0.5),
    "Mish": lambda x: x * softplus(x).do("tanh"),
    "Silu": lambda x: x * _sigmoid(x),
}


@rule(*(op for op in ACTIVATIONS if op != "Silu"))
def activation(c: Operands) -> Value:
    return ACTIVATIONS[c.op](c.arg(0))


@rule("LeakyRelu")
def leaky_relu(c: Operands) -> Value:
    x = c.arg(0)
    return where(x < 0.0, x * float(c.attr("alpha", 0.01)), x)


@rule("PRelu")
def prelu(c: Operands) -> Value:
    x = c.arg(0)
    slope = c.along(1, 1) if c.since < 7 else c.arg(1)
    return where(x < 0, x * slope, x)


@rule("Elu")
def elu(c: Operands) -> Value:
    return _below(c.arg(0), float(c.attr("alpha", 1.0)))


@rule("Selu")
def selu(c: Operands) -> Value:
    alpha, gamma = float(c.attr("alpha", 1.67326319)), float(c.attr("gamma", 1.05070102))
    return _below(c.arg(0), alpha * gamma, gamma)


@rule("Celu")
def celu(c: Operands) -> Value:
    alpha = float(c.attr("alpha", 1.0))
    return _below(c.arg(0), alpha, rate=alpha)


@rule("ThresholdedRelu")
def thresholded_relu(c: Operands) -> Value:
    x = c.arg(0)
    return where(x > float(c.attr("alpha", 1.0)), x, 0.0)


@rule("HardSigmoid")
def hard_sigmoid_(c: Operands) -> Value:
    return hard_sigmoid(c.arg(0), float(c.attr("alpha", 0.2)), float(c.attr("beta", 0.5)))


@rule("Swish")
def swish(c: Operands) -> Value:
    x, alpha = c.arg(0), float(c.attr("alpha", 1.0))
    return x * _sigmoid(x if alpha == 1.0 else x * alpha)


@rule("QuickGelu", domain="com.microsoft")
def quick_gelu(c: Operands) -> Value:
    x = c.arg(0)
    return x * _sigmoid(x * float(c.attr("alpha", 1.702)))


@rule("Gelu")
def gelu_(c: Operands) -> Value:
    return gelu_tanh(c.arg(0)) if c.attr("approximate", "none") in ("tanh", b"tanh") else gelu(c.arg(0))


@rule("Gelu", "BiasGelu", "FastGelu", domain="com.microsoft")
def biased_gelu(c: Operands) -> Value:
    x = c.arg(0) + c.arg(1) if c.has(1) else c.arg(0)
    return gelu_tanh(x) if c.op == "FastGelu" else gelu(x)


@rule("BiasAdd", domain="com.microsoft")
def bias_add(c: Operands) -> Value:
    return c.arg(0) + c.arg(1) + c.arg(2)


@rule("SwiGLU")
def swiglu(c: Operands) -> Value:
    gate, alpha = c.arg(0), float(c.attr("alpha", 1.0))
    return gate * _sigmoid(gate if alpha == 1.0 else gate * alpha) * c.arg(1)


@rule("Shrink")
def shrink(c: Operands) -> Value:
    x, bias, limit = c.arg(0), float(c.attr("bias", 0.0)), float(c.attr("lambd", 0.5))
    need(x.is_float, f"Shrink of {x.dtype}")
    return where(x < -limit, x + bias, where(x > limit, x - bias, 0.0))


@rule("BatchNormalization")
def batch_normalization(c: Operands) -> Value:
    need(not c.attr("training_mode", 0), "training")
    need(c.attr("spatial", 1), "statistics of their own for each element")
    x = c.arg(0)
    scale, bias, mean, variance = (c.along(i, 1).cast(x.dtype) for i in range(1, 5))
    factor = scale / (variance + float(c.attr("epsilon", 1e-5))).do("sqrt")
    return x * factor + (bias - mean * factor)


# --- quantisation

_RANGE = {
    "u8": (0, 255), "i8": (-128, 127), "u16": (0, 65535), "i16": (-32768, 32767),
    "u4": (0, 15), "i4": (-8, 7), "u2": (0, 3), "i2": (-2, 1),
}  # fmt: skip


def _quantised_axis(c: Operands) -> int:
    return int(c.attr("axis", 1))


@rule("QuantizeLinear")
@rule("QuantizeLinear", domain="com.microsoft")
def quantize_linear(c: Operands) -> Value:
    need(c.dtype in _RANGE or c.dtype in FORMATS, f"QuantizeLinear to {c.dtype}")
    need(not c.attr("block_size", 0), "blocks of scales")
    need(not c.attr("precision", 0) and c.type_of(1) == "f32", "a division in another type than float32")
    axis = _quantised_axis(c)
    x = c.arg(0).cast("f32")
    if c.dtype in FORMATS:  # the zero point of floats is 0
        return encode(x / c.along(1, axis), c.dtype, bool(c.attr("saturate", 1)))
    y = (x / c.along(1, axis)).do("rint")
    low, high = _RANGE[c.dtype]
    if c.has(2):
        y = y + c.along(2, axis).cast("f32")
    y = where(y >= float(low), y.min(float(high)), float(low))  # NaN becomes the lowest value
    return encode(y, c.dtype) if c.dtype in SMALL else y.cast("i32").cast(c.dtype)


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain="com.microsoft")
def dequantize_linear(c: Operands) -> Value:
    need(not c.attr("block_size", 0), "blocks of scales")
    need(c.type_of(0) in (*_RANGE, *FORMATS, "i32") and c.type_of(1) in ("f32", "f16", "bf16"), f"of {c.type_of(0)}")
    need(not c.attr("output_dtype", 0) or c.dtype == c.type_of(1), "a result of another type than the scale")
    axis = _quantised_axis(c)
    x = c.arg(0)
    if c.type_of(0) in FORMATS:
        return x * c.along(1, axis)
    if c.has(2) and c.type_of(0) != "i32":
        x = x.cast("i32") - c.along(2, axis).cast("i32")
        return x.cast("f32") * c.along(1, axis)
    y = x.cast("f32")
    if c.has(2):
        y = y - c.along(2, axis).cast("f32")
    return y * c.along(1, axis)
