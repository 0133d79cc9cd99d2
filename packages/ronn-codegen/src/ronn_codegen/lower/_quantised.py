"""What lowerings of operators on quantised bytes share: constant scales and zero points, tables, ranges.

Bytes are taken as unsigned: signed ones are flipped by 128 first, and so are their zero points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn_codegen.lowering import I8, U8, Lowering, Operand, Temporary

QUANTIZE = "ronn_codegen.templates.quantize"
SLACK = 64  # bytes behind the left side of a product that it may read
FLIP = np.arange(256, dtype=np.uint8) ^ 128
NOTHING = np.zeros(1, np.uint8)

Array = np.ndarray
Argument = Any


def flipped(c: Lowering, x: Operand) -> Operand | Temporary:
    """Bytes as unsigned ones."""
    if x.dtype == U8:
        return x
    c.require(x.dtype == I8, f"{x.dtype} is not a type of bytes")
    out = c.temp(x.size + SLACK)
    lut(c, x, out, x.size, FLIP)
    return out


def lut(c: Lowering, x: Argument, y: Argument, n: int, table: Array) -> None:
    c.call(QUANTIZE, "int8_lut", x=x, y=y, n=n, lut=table, chunks=max(n // 4096, 1), cost=n * 0.7)


def fixed(c: Lowering, index: int, what: str) -> Array:
    """A constant input. Refuses one that is computed or omitted."""
    given = c.input(index)
    c.require(given is not None and given.data is not None, f"{what} is not constant")
    assert given is not None and given.data is not None
    return given.data


def fixed_number(c: Lowering, index: int, what: str) -> Array:
    """A constant input of one element, as a scalar; zero where it is omitted."""
    given = c.input(index)
    if given is None:
        return np.zeros((), np.uint8)
    data = fixed(c, index, what)
    c.require(data.size == 1, f"{what} has {data.size} values")
    return data.reshape(())


def unsigned_zero(zero: Array) -> int:
    """A zero point as that of the flipped bytes."""
    return int(zero) + (128 if zero.dtype == I8 else 0)


def limits(dtype: np.dtype, zero: int) -> tuple[float, float]:
    """What a value may be before its zero point is added."""
    low, high = (-128, 127) if dtype == I8 else (0, 255)
    return float(low - zero), float(high - zero)


def quantise_dynamically(c: Lowering, x: Operand, scale: Argument, zero: Argument) -> None:
    """The scale and zero point of ``x`` to two places in memory."""
    blocks = max(1, min(16, x.size // 8192))
    partial = c.temp(8 * blocks)
    c.call(
        QUANTIZE, "minmax_f32", x=x, n=x.size, partial=partial, blocks=blocks, chunks=blocks, cost=50 + x.size / 20,
        bytes=x.nbytes,
    )  # fmt: skip
    c.call(QUANTIZE, "range_u8", partial=partial, count=blocks, scale=scale, zero=zero, cost=30)
