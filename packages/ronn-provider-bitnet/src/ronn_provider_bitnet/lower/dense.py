"""Products with weights of one, two, four and eight bits."""

from __future__ import annotations

import hashlib
import math

from ronn_provider_bitnet.kernels.layout import WIDEST, pack_codes, padded, panel_rows
from ronn_provider_bitnet.lower._activations import padded_bias, quantised
from ronn_provider_bitnet.lower._lookups import by_lookup, lookup_form
from ronn_provider_bitnet.ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import Lowering, lower

_PRODUCTS = "ronn_provider_bitnet.kernels.products"
_NIBBLES, _WIDE = "ronn_provider_bitnet.kernels.nibbles", "ronn_provider_bitnet.kernels.wide"
_FEW = {1: _PRODUCTS, 2: _PRODUCTS, 4: _NIBBLES, 8: _WIDE}
_BYTES_PER_NS, _DOTS_PER_NS = 16.0, 400.0  # what one core streams, and multiplies
_TILE_ROWS = 5


@lower("BitLinear", domain=DOMAIN)  # not alike: scales are packed with the codes, and differ from layer to layer
def bit_linear(c: Lowering) -> None:
    codes, scale, offset = c.input(1), c.input(2), c.input(4)
    assert codes is not None and scale is not None
    c.require(codes.data is not None and scale.data is not None, "weights are not constant")
    c.require(offset is None or offset.data is not None, "offsets are not constant")
    form = lookup_form(c)
    if form is None:
        _by_dots(c)
    else:
        by_lookup(c, form)


def _by_dots(c: Lowering) -> None:
    x, codes, scale, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and codes is not None and scale is not None and y is not None
    bits, planes = int(c.attr("bits")), int(c.attr("planes"))
    (n, k), groups = codes.shape, scale.shape[1]
    group = int(c.attr("group"))
    group = group if group else k
    wide, rows = padded(group, bits), math.prod(x.shape[:-1])
    c.require(bits < 8 or wide <= WIDEST, f"{group} weights of eight bits with one scale")
    panel = panel_rows(c.machine.target)
    scales, given = scale.data, c.input(4)
    assert scales is not None
    offsets = None if given is None else given.data
    digest = hashlib.blake2b(scales.tobytes() + (b"" if offsets is None else offsets.tobytes())).digest()
    packed = c.packed(
        codes, ("bits", bits, group, panel, digest),
        lambda q: pack_codes(q, scales, bits, group, panel, offsets),
    )  # fmt: skip
    bias = padded_bias(c, n, panel)
    a, zeros, steps = quantised(c, x, groups, group, wide)
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
