"""What products with few bits share: activations in bytes, and a bias of whole panels."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.aligned import aligned_zeros
from ronn_provider_cpu.lowering import F32, Lowering, Operand, Temporary

_ACTIVATIONS = "ronn_provider_bitnet.kernels.activations"


def quantised(
    c: Lowering, x: Operand, groups: int, group: int, wide: int, behind: int = 0
) -> tuple[Temporary, Temporary, Temporary]:
    """s8 [planes, rows, groups * wide] of the activations of a ``BitLinear``, with ``behind`` bytes behind them that
    may be read; i32 [planes, rows, groups] of what comes off its sums; f32 [rows] of what a step stands for."""
    planes, bits = int(c.attr("planes")), int(c.attr("bits"))
    rows, k = math.prod(x.shape[:-1]), x.shape[-1]
    counts = 1 if bits == 1 or c.input(4) is not None else int(c.attr("zero"))
    least = float(c.attr("least")) if planes == 1 else 0.0
    a, zeros = c.temp(planes * rows * groups * wide + behind), c.temp(4 * planes * rows * groups)
    steps = c.temp(4 * rows)
    c.call(
        _ACTIVATIONS, "quantize_rows", x=x, m=rows, k=k, groups=groups, group=group, wide=wide, planes=planes,
        zero=counts, least=least, a=a, zeros=zeros, scale=steps, chunks=rows, cost=30 + x.size / 8, bytes=5 * x.size,
    )  # fmt: skip
    return a, zeros, steps


def padded_bias(c: Lowering, n: int, panel: int) -> np.ndarray:
    """The bias, padded to whole panels; zeros where there is none."""
    given: Operand | None = c.input(3)
    if given is None:
        return aligned_zeros((-(-n // panel) * panel,), np.float32)
    c.require(given.data is not None and given.dtype == F32, "a bias that is not constant")
    return padded_column(c, given, n, panel)


def padded_column(c: Lowering, given: Operand, n: int, panel: int) -> np.ndarray:
    """A constant f32 of n elements, padded to whole panels."""
    wide = -(-n // panel) * panel

    def pad(data: np.ndarray) -> np.ndarray:
        out = aligned_zeros((wide,), np.float32)
        out[:n] = data.reshape(-1)
        return out

    return c.packed(given, ("padded", wide), pad)
