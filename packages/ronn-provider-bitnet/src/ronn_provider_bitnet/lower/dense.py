"""Products with weights of one, two, four and eight bits."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from ronn_provider_bitnet.kernels.layout import WIDEST, pack_codes, padded, panel_rows
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import F32, Lowering, Operand, lower

_ACTIVATIONS, _PRODUCTS = "ronn_provider_bitnet.kernels.activations", "ronn_provider_bitnet.kernels.products"
_NIBBLES, _WIDE = "ronn_provider_bitnet.kernels.nibbles", "ronn_provider_bitnet.kernels.wide"
_FEW = {1: _PRODUCTS, 2: _PRODUCTS, 4: _NIBBLES, 8: _WIDE}
_BYTES_PER_NS, _DOTS_PER_NS = 16.0, 400.0  # what one core streams, and multiplies
_TILE_ROWS = 5


@lower("BitLinear", domain=DOMAIN)  # not alike: scales are packed with the codes, and differ from layer to layer
def bit_linear(c: Lowering) -> None:
    x, codes, scale, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and codes is not None and scale is not None and y is not None
    c.require(codes.data is not None and scale.data is not None, "weights are not constant")
    bits, zero, planes = (int(c.attr(name)) for name in ("bits", "zero", "planes"))
    (n, k), groups = codes.shape, scale.shape[1]
    group = int(c.attr("group"))
    group = group if group else k
    wide, rows = padded(group, bits), math.prod(x.shape[:-1])
    c.require(bits < 8 or wide <= WIDEST, f"{group} weights of eight bits with one scale")
    panel = panel_rows(c.machine.target)
    scales = scale.data
    assert scales is not None
    given = c.input(4)
    c.require(given is None or given.data is not None, "offsets are not constant")
    offsets = None if given is None else given.data
    digest = hashlib.blake2b(scales.tobytes() + (b"" if offsets is None else offsets.tobytes())).digest()
    packed = c.packed(
        codes, ("bits", bits, group, panel, digest),
        lambda q: pack_codes(q, scales, bits, group, panel, offsets),
    )  # fmt: skip
    bias = _bias(c, n, panel)
    counts = 1 if bits == 1 or offsets is not None else zero
    least = float(c.attr("least")) if planes == 1 else 0.0
    a, zeros = c.temp(planes * rows * groups * wide), c.temp(4 * planes * rows * groups)
    steps = c.temp(4 * rows)
    c.call(
        _ACTIVATIONS, "quantize_rows", x=x, m=rows, k=k, groups=groups, group=group, wide=wide, planes=planes,
        zero=counts, least=least, a=a, zeros=zeros, scale=steps, chunks=rows, cost=30 + x.size / 8, bytes=5 * x.size,
    )  # fmt: skip
    mode, p0, p1 = epilogue(c, None).mode
    kernel, flops = "bits" if offsets is None else "affine", 2 * rows * k * n
    kernel += f"{bits}_{'bytes' if planes == 1 else 'words'}"
    c.call(
        _FEW[bits], kernel, a=a, m=rows, groups=groups, group=wide, n=n, packed=packed,
        zeros=zeros, scale=steps, bias=bias, y=y, mode=mode, p0=p0, p1=p1,
        chunks=-(-n // panel) * -(-rows // _TILE_ROWS),
        cost=50 + max(packed.nbytes / _BYTES_PER_NS, planes * flops / _DOTS_PER_NS), flops=flops,
        bytes=packed.nbytes + x.size * planes + y.nbytes,
    )  # fmt: skip


def _bias(c: Lowering, n: int, panel: int) -> np.ndarray:
    """The bias, padded to whole panels; zeros where there is none."""
    wide = -(-n // panel) * panel
    given: Operand | None = c.input(3)
    if given is None:
        return np.zeros(wide, np.float32)
    c.require(given.data is not None and given.dtype == F32, "a bias that is not constant")

    def pad(data: np.ndarray) -> np.ndarray:
        out = np.zeros(wide, np.float32)
        out[:n] = data.reshape(-1)
        return out

    return c.packed(given, ("padded", wide), pad)
