"""The activations of fused operators (``ronn.ops.fused``) as C: statements that change ``v``, of type T, by p0 and p1.

Numbers are written as ``<0.5>``: of that type."""

from __future__ import annotations

import re

ACTIVATIONS = {
    "": "",
    "Relu": "v = v < 0 ? 0 : v;",
    "Sigmoid": "v = 1 / (1 + exp(-v));",
    "Tanh": "v = tanh(v);",
    "HardSwish": "{ const T t = v / 6 + <0.5>; v *= t < 0 ? 0 : t > 1 ? 1 : t; }",
    "Silu": "v = v / (1 + exp(-v));",
    "Gelu": "v = <0.5> * v * (1 + erf(v * <0.70710678118654752>));",
    "GeluTanh": "v = <0.5> * v * (1 + tanh(<0.79788456080286536> * (v + <0.044715> * v * v * v)));",
    "Softplus": "v = log1p(exp(-fabs(v))) + (v < 0 ? 0 : v);",
    "LeakyRelu": "v = v < 0 ? v * (T)p0 : v;",
    "Elu": "v = v < 0 ? (T)p0 * expm1(v) : v;",
    "HardSigmoid": "{ const T t = v * (T)p0 + (T)p1; v = t < 0 ? 0 : t > 1 ? 1 : t; }",
    "Clip": "v = v < (T)p0 ? (T)p0 : v; v = v > (T)p1 ? (T)p1 : v;",
}

_NUMBER = re.compile(r"<([\d.]+)>")


def activate(name: str, kind: str) -> str:
    """The statements for values of type ``kind`` (``f32``, ``f64``)."""
    text = re.sub(r"\bT\b", kind, ACTIVATIONS[name])
    return _NUMBER.sub(r"\1f" if kind == "f32" else r"\1", text)
