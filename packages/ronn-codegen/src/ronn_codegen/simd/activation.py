"""Activations that kernels apply to what they have just written, while it is in the cache.

Each has a number (``ronn_codegen.simd.modes``), which kernels take together with its two parameters. ``CLAMP`` (Relu
and Clip) is cheap enough to be done in registers before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from ronn_codegen.simd import elementary, tile
from ronn_codegen.simd.emit import Builder, splat
from ronn_codegen.simd.modes import CLAMP, NAMES
from ronn_codegen.simd.tile import Value
from ronn_codegen.simd.types import Vec
from ronn_codegen.simd.vectors import Vector, fma, largest, select, smallest


def clamp(x: Vector, low: Vector, high: Vector) -> Vector:
    return smallest(high, largest(low, x))


def leaky_relu(x: Vector, alpha: Vector, _: Vector) -> Vector:
    return select(x < 0.0, x * alpha, x)


def sigmoid(x: Vector, _: Vector, __: Vector) -> Vector:
    return elementary.sigmoid(x)


def tanh(x: Vector, _: Vector, __: Vector) -> Vector:
    return elementary.tanh(x)


def hard_swish(x: Vector, _: Vector, __: Vector) -> Vector:
    return x * hard_sigmoid(x, x.const(1 / 6), x.const(0.5))


def hard_sigmoid(x: Vector, alpha: Vector, beta: Vector) -> Vector:
    return smallest(1.0, largest(0.0, fma(x, alpha, beta)))


def silu(x: Vector, _: Vector, __: Vector) -> Vector:
    return x * elementary.sigmoid(x)


def gelu(x: Vector, _: Vector, __: Vector) -> Vector:
    return x * 0.5 * (elementary.erf(x * math.sqrt(0.5)) + 1.0)


def gelu_tanh(x: Vector, _: Vector, __: Vector) -> Vector:
    return x * 0.5 * (elementary.tanh(fma(x * x, x * 0.044715, x) * math.sqrt(2 / math.pi)) + 1.0)


def softplus(x: Vector, _: Vector, __: Vector) -> Vector:
    """max(x, 0) + log(1 + e): what rounding 1 + e drops is put back to the first order."""
    e = elementary.exp(-abs(x))
    u = e + 1.0
    return largest(0.0, x) + (elementary.log(u) + (e - (u - 1.0)) / u)


def elu(x: Vector, alpha: Vector, _: Vector) -> Vector:
    """exp(x) - 1 as 2 t / (1 - t), where t is tanh(x / 2): exact near 0."""
    t = elementary.tanh(x * 0.5)
    return select(x < 0.0, alpha * (t + t) / (1.0 - t), x)


Activation = Callable[[Vector, Vector, Vector], Vector]
_FUNCTIONS: dict[str, Activation] = {
    "Clip": clamp, "LeakyRelu": leaky_relu, "Sigmoid": sigmoid, "Tanh": tanh, "HardSwish": hard_swish,
    "HardSigmoid": hard_sigmoid, "Silu": silu, "Gelu": gelu, "GeluTanh": gelu_tanh, "Softplus": softplus, "Elu": elu,
}  # fmt: skip


@cache
def activate(lanes: int) -> Any:
    """An intrinsic ``fn(mode, address, row, rows, columns, p0: f32, p1: f32)``: the activation, in place, of float32
    rows that lie ``row`` elements apart. Another mode changes nothing."""
    vec = Vec("f32", lanes)
    functions = [_FUNCTIONS[name] for name in NAMES]

    def emit(builder: Builder, mode: Value, base: Value, row: Value, rows: Value, columns: Value, *p: Value) -> None:
        params = [Vector(builder, vec, splat(builder, value, lanes)) for value in p]
        start = tile.pointer(builder, base)
        stride = tile.scaled(builder, row, 4)
        whole = builder.lshr(columns, tile.i64(lanes.bit_length() - 1))
        rest = builder.and_(columns, tile.i64(lanes - 1))
        mask = tile.mask_of(builder, rest, lanes)

        def apply(function: Activation) -> None:
            def one(at: Value, masked: Value | None) -> Value:
                x = Vector(builder, vec, tile.load(builder, vec, at, masked))
                tile.store(builder, vec, function(x, *params).value, at, masked)
                return tile.at(builder, at, lanes * 4)

            def each_row(_: Value, at: Value) -> Value:
                end = tile.loop(builder, whole, at, lambda _, place: one(place, None))
                tile.when(builder, builder.icmp_signed(">", rest, tile.i64(0)), end, lambda place: one(place, mask))
                return tile.at(builder, at, stride)

            tile.loop(builder, rows, start, each_row)

        tile.choose(builder, builder.sub(mode, tile.i64(CLAMP)), [partial(apply, f) for f in functions])

    return tile.emitted("activate", "i64 i64 i64 i64 i64 f32 f32", emit)
