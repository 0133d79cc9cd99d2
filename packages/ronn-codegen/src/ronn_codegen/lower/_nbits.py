"""MatMulNBits: float32 rows by block-quantised weights of 4 or 8 bits."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from ronn_codegen.lower._copies import emit
from ronn_codegen.lower._quantised import fixed
from ronn_codegen.lowering import F32, Argument, Lowering
from ronn_codegen.templates.jobs import Copies, Side
from ronn_codegen.templates.nbits_pack import pack_bits, unpack

_MODULE = "ronn_codegen.templates.nbits"
_BYTES_PER_NS, _GFLOPS = 12.0, 70.0  # what one core streams, and multiplies


def multiply(c: Lowering, columns: int, kernel: str) -> None:
    """The call for MatMulNBits of ``kernel``, whose weights lie in panels of so many columns."""
    a, b, y = c.input(0), c.input(1), c.outputs[0]
    assert a is not None and b is not None and y is not None
    k, n, bits, block = (int(c.attr(name)) for name in ("K", "N", "bits", "block_size"))
    c.require(a.dtype == F32, "only float32")
    c.require(a.shape[-1:] == (k,), f"rows of shape {a.shape} for K={k}")
    c.require(bits in (4, 8), f"weights of {bits} bits")
    c.require(c.input(4) is None, "an order of groups")
    c.require(b.data is not None, "weights are not constant")
    blocks = -(-k // block)
    scales = fixed(c, 2, "the scale")
    c.require(scales.dtype == F32, f"scales in {scales.dtype}")
    zeros = _zeros(c, n, blocks, bits)
    digest = hashlib.blake2b(scales.tobytes() + zeros.tobytes()).digest()
    key = ("nbits", bits, block, k, n, columns, digest)

    def pack(data: np.ndarray) -> np.ndarray:
        q = unpack(data.view(np.uint8).reshape(n, -1), bits)[:, :k]
        return pack_bits(q, scales.reshape(n, blocks), zeros, bits, block, columns)

    packed = c.packed(b, key, pack)
    bias = np.zeros(-(-n // columns) * columns, np.float32)
    if c.input(5) is not None:
        bias[:n] = fixed(c, 5, "the bias").reshape(-1)
    rows = math.prod(a.shape[:-1])
    source: Argument = a
    if k != blocks * block:  # whole blocks are read: behind each row there must be finite numbers
        source = c.temp(4 * rows * blocks * block)
        copies = Copies()
        row, wide = 4 * k, 4 * blocks * block
        copies.add((rows, k), 4, Side(0, 0, (row, 4)), Side(1, 0, (wide, 4)))
        copies.add((rows, blocks * block - k), 4, Side(2, 0, (0, 0)), Side(1, row, (wide, 4)))
        emit(c, copies, [a, source, np.zeros(1, np.float32)])
    flops = 2 * rows * k * n
    c.call(
        _MODULE, kernel.format(bits=bits), a=source, m=rows, blocks=blocks, block=block, n=n, packed=packed, bias=bias,
        y=y, a_row=4 * blocks * block, chunks=-(-n // columns) * -(-rows // 6), flops=flops,
        cost=100 + max(flops / _GFLOPS, packed.nbytes / _BYTES_PER_NS), bytes=packed.nbytes + a.nbytes + y.nbytes,
    )  # fmt: skip


def _zeros(c: Lowering, n: int, blocks: int, bits: int) -> np.ndarray:
    """The zero points as f32[N, blocks]; the middle of the range where none are given."""
    if c.input(3) is None:
        return np.full((n, blocks), 1 << (bits - 1), np.float32)
    zeros = fixed(c, 3, "the zero point")
    if zeros.dtype == np.uint8:
        return unpack(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    c.require(zeros.dtype == F32, f"zero points in {zeros.dtype}")
    return zeros.reshape(n, blocks)
