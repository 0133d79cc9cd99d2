"""ByteMatMul: float32 rows by weights of bytes."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.templates.gemm_shape import ROW_VECTORS, block_of_steps, tile_of
from ronn_codegen.templates.int8_pack import pack_rows
from ronn_provider_cpu.byte_ops import DOMAIN
from ronn_provider_cpu.lower._products import epilogue
from ronn_provider_cpu.lowering import F32, Argument, Lowering, lower

_NEAR = 64  # rows of a panel that lie in the nearest cache as float32
_MOST = 64  # shares, each of which has scratch of its own


@lower("ByteMatMul", domain=DOMAIN, alike=True)
def byte_matmul(c: Lowering) -> None:
    x, w, scale, bias, y = c.input(0), c.input(1), c.input(2), c.input(3), c.outputs[0]
    assert x is not None and w is not None and scale is not None and y is not None
    c.require(x.dtype == y.dtype == F32, "only float32")
    c.require(x.rank > 1, "a vector")
    c.require(w.data is not None and scale.data is not None, "weights are not constant")
    c.require(bias is None or bias.rank == 1, "a bias of several dims")
    assert scale.data is not None
    tile, (k, n), m = tile_of(c.machine.target), w.shape, math.prod(x.shape[:-1])
    packed = c.packed(w, ("bytes", tile), lambda data: pack_rows(data, tile.lanes, tile.columns))
    factors = c.packed(scale, ("columns", tile.lanes), lambda data: _padded(data, n, tile.lanes))
    # Few rows read each panel once: what is made of it should not leave the nearest cache.
    kc = min(k, _NEAR) if m <= tile.rows else block_of_steps(m, k, tile)
    panels = -(-n // tile.columns)
    apart = 4 * kc * tile.columns
    source: Argument = 0 if bias is None else bias
    mode, p0, p1 = epilogue(c, None).mode
    flops, moved = 2 * m * k * n, k * n + 4 * m * (k + n)
    c.call(
        "ronn_codegen.templates.gemm", "gemm_bytes_f32", m=m, n=n, k=k, kc=kc, a=x, a_row=k, w=packed, scale=factors,
        c=y, c_row=n, source=source, source_kind=0 if bias is None else ROW_VECTORS, mode=mode, p0=p0, p1=p1,
        room=c.temp(apart * min(panels, _MOST)), apart=apart, chunks=min(panels, _MOST),
        cost=50 + max(flops / 100, moved / 20) + k * n / 16, flops=flops, bytes=moved,
    )  # fmt: skip


def _padded(scale: np.ndarray, n: int, lanes: int) -> np.ndarray:
    out = np.zeros(-(-n // lanes) * lanes, np.float32)
    out[:n] = scale
    return out
