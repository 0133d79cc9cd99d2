"""Integer products with weights of a few bits."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from ronn_provider_bitnet.kernels.layout import pack_panels, padded, panel_rows
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import F32, I8, Argument, Lowering, Operand, lower

_MODULE = "ronn_provider_bitnet.kernels.integers"
_BYTES_PER_NS, _DOTS_PER_NS = 16.0, 400.0  # what one core streams, and multiplies
_TILE_ROWS = 4
Array = np.ndarray


@lower("BitInteger", domain=DOMAIN)
def bit_integer(c: Lowering) -> None:
    base = _fixed(c, 2)
    _product(c, "i32", base, None, int(c.attr("step")), 0, c.input(3))


@lower("BitIntegerToFloat", domain=DOMAIN)
def bit_integer_to_float(c: Lowering) -> None:
    base, scale, x_scale = _fixed(c, 2), _fixed(c, 3), c.input(4)
    c.require(x_scale is not None and x_scale.size == 1 and x_scale.dtype == F32, "a scale for each row")
    _product(c, "f32", base, scale, 1, int(c.attr("group")), c.input(5), x_scale)


def _fixed(c: Lowering, index: int) -> Array:
    given = c.input(index)
    c.require(given is not None and given.data is not None, "weights are not constant")
    assert given is not None and given.data is not None
    return given.data


def _product(
    c: Lowering, kind: str, base: Array, scale: Array | None, step: int, group: int, zero: Operand | None,
    x_scale: Argument = 0,
) -> None:  # fmt: skip
    x, codes, y = c.input(0), c.input(1), c.outputs[0]
    assert x is not None and codes is not None and y is not None
    (n, k), bits, groups = codes.shape, int(c.attr("bits")), base.shape[1]
    group = group if group else k
    rows, wide, panel = math.prod(x.shape[:-1]), padded(group, bits), panel_rows(c.machine.target)
    c.require(zero is None or zero.size in (1, rows), "zero points that are neither one nor one for each row")
    digest = hashlib.blake2b(base.tobytes() + (b"" if scale is None else scale.tobytes())).digest()

    def pack(q: Array) -> Array:
        weights = _sums_of_weights(q, base, step, group)
        return pack_panels(q, [base, weights] if scale is None else [base, weights, scale], bits, group, panel)

    packed = c.packed(codes, ("integers", kind, bits, group, step, panel, digest), pack)
    a, sums, zeros = c.temp(rows * groups * wide), c.temp(4 * rows * groups), c.temp(4 * rows)
    c.call(
        _MODULE, "shift_rows", x=x, m=rows, k=k, groups=groups, group=group, wide=wide, signed=int(x.dtype == I8),
        zero=0 if zero is None else zero, zero_rows=int(zero is not None and zero.size > 1), a=a, sums=sums,
        zeros=zeros, chunks=rows, cost=20 + x.size / 16, bytes=2 * x.size,
    )  # fmt: skip
    bias: Any = 0
    mode, p0, p1 = 0, 0.0, 0.0
    if kind == "f32":
        bias = np.zeros(-(-n // panel) * panel, np.float32)
        if c.input(6) is not None:
            bias[:n] = _fixed(c, 6).reshape(-1)
        mode, p0, p1 = epilogue(c, None).mode
    flops = 2 * rows * k * n
    c.call(
        _MODULE, f"integers{bits}_{kind}", a=a, m=rows, groups=groups, group=wide, n=n, packed=packed, sums=sums,
        zeros=zeros, step=step, factor=x_scale, bias=bias, y=y, mode=mode, p0=p0, p1=p1,
        chunks=-(-n // panel) * -(-rows // _TILE_ROWS), flops=flops,
        cost=50 + max(packed.nbytes / _BYTES_PER_NS, flops / _DOTS_PER_NS), bytes=packed.nbytes + x.size + y.nbytes,
    )  # fmt: skip


def _sums_of_weights(codes: Array, base: Array, step: int, group: int) -> Array:
    """i32[N, groups]: the sums of ``step * code + base``."""
    k = codes.shape[1]
    starts = np.arange(0, k, group)
    sums = np.add.reduceat(codes, starts, axis=1, dtype=np.int64) if k else np.zeros(base.shape, np.int64)
    counts = np.minimum(starts + group, k) - starts
    return (step * sums + base.astype(np.int64) * counts).astype(np.int32)
