"""Products by look-up: for which weights, and the calls. Which layers get them is measured: see ``choice``."""

from __future__ import annotations

import hashlib
import math

from ronn_provider_bitnet.choice import quicker
from ronn_provider_bitnet.kernels.lookup_layout import (
    BINARY,
    LINES,
    ROWS,
    TERNARY,
    Form,
    pack_lookups,
    sums_bytes,
    tile_rows,
)
from ronn_provider_bitnet.lower._activations import padded_bias, padded_column, quantised
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import Lowering

_BEHIND = 64  # bytes that tables may read behind activations
_MOST_SHARES = 32
_PANELS_A_SHARE = 4  # at least: each share makes tables of its own
_LARGEST = {1: 1 << 24, 2: 1 << 15}  # elements of K by planes: sums stay below 2**31
_BYTES_PER_NS, _SUMS_PER_NS = 16.0, 500.0


def lookup_form(c: Lowering) -> Form | None:
    """How the weights of a ``BitLinear`` are looked up; None where they have more values or zero points, groups are
    long, the processor has no permutation of words, or dots of bytes are quicker."""
    codes, scale = c.input(1), c.input(2)
    assert codes is not None and scale is not None and codes.data is not None
    target = c.machine.target
    bits, planes, (n, k), groups = int(c.attr("bits")), int(c.attr("planes")), codes.shape, scale.shape[1]
    if target.name != "avx512" or c.input(4) is not None or bits > 2 or k > _LARGEST[planes] or codes.data.size == 0:
        return None
    form = BINARY if bits == 1 else TERNARY
    if bits == 2 and (int(c.attr("zero")) != 1 or codes.data.max() > 2):
        return None
    if groups > 1 and form.words(int(c.attr("group"))) > form.most:
        return None
    chosen = quicker(form.name, planes, n, k, groups > 1, dot=target.int8_dot)
    c.notes.append(str(chosen))
    return form if chosen.lookup else None


def by_lookup(c: Lowering, form: Form) -> None:
    x, codes, scale, y = c.input(0), c.input(1), c.input(2), c.outputs[0]
    assert x is not None and codes is not None and scale is not None and y is not None
    planes, (n, k), groups = int(c.attr("planes")), codes.shape, scale.shape[1]
    grouped = groups > 1
    group = int(c.attr("group")) if grouped else k
    words, rows = form.words(group), math.prod(x.shape[:-1])
    wide = -(-words * form.step // 16) * 16
    factors = padded_column(c, scale, n, ROWS) if not grouped else padded_bias(c, n, ROWS)
    scales = scale.data
    assert scales is not None
    digest = hashlib.blake2b(scales.tobytes()).digest() if grouped else b""
    packed = c.packed(
        codes, ("lookups", form.name, group, digest),
        lambda q: pack_lookups(q, form, group if grouped else 0, scales if grouped else None),
    )  # fmt: skip
    bias = padded_bias(c, n, ROWS)
    a, zeros, steps = quantised(c, x, groups, group, wide, _BEHIND)
    mode, p0, p1 = epilogue(c, None).mode
    panels, tiles = -(-n // ROWS), -(-rows // tile_rows(planes)[-1])
    chunks = min(max(panels // _PANELS_A_SHARE, tiles // LINES, 1), _MOST_SHARES)
    flops = 2 * rows * k * n
    c.call(
        f"ronn_provider_bitnet.kernels.lookup_{form.name}",
        f"{form.name}_{'groups' if grouped else 'rows'}_{'bytes' if planes == 1 else 'words'}",
        a=a, m=rows, groups=groups, words=words, wide=wide, n=n, packed=packed, factors=factors, zeros=zeros,
        scale=steps, bias=bias, sums=c.temp(sums_bytes(rows, n, planes, chunks)), y=y, mode=mode, p0=p0, p1=p1,
        chunks=chunks, cost=50 + max(packed.nbytes / _BYTES_PER_NS, planes * flops / _SUMS_PER_NS), flops=flops,
        bytes=packed.nbytes + x.size * planes + y.nbytes,
    )  # fmt: skip
