"""The layout of weights of a few bits for ``templates.nbits``. Imports no compiler."""

from __future__ import annotations

from functools import cache

import numpy as np

from ronn_codegen.simd.target import Target

Array = np.ndarray
VECTORS = 4  # of columns in a panel


@cache
def panel_columns(target: Target) -> int:
    return VECTORS * target.lanes(32)


def pack_bits(q: Array, scales: Array, zeros: Array, bits: int, block: int, columns: int) -> Array:
    """Weights ``(q - zeros) * scales`` with q uint8[N, K], scales and zeros f32[N, K / block], as int32 words.

    Panels of ``columns`` columns; in each, block by block: the scales of the columns, ``-zeros * scales`` of them, and
    for every ``32 / bits`` values of k a word per column with the first value in its lowest bits. K is padded to whole
    blocks, with weights of 0.
    """
    n, k = q.shape
    blocks, per = -(-k // block), 32 // bits
    panels = -(-n // columns)
    full = np.zeros((panels * columns, blocks * block), np.uint32)
    full[:n, :k] = q
    words = np.zeros((panels * columns, blocks, block // per), np.uint32)
    for i in range(per):
        words |= full.reshape(panels * columns, blocks, block // per, per)[..., i] << np.uint32(bits * i)
    facts = np.zeros((panels * columns, blocks, 2), np.float32)
    facts[:n, :, 0] = scales
    facts[:n, :, 1] = -zeros * scales
    both = np.concatenate([facts.view(np.uint32), words], axis=2)
    laid = both.reshape(panels, columns, blocks, 2 + block // per).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(laid).view(np.int32).reshape(-1)


def unpack(packed: Array, bits: int) -> Array:
    """uint8 (..., bytes) -> uint8 (..., bytes * 8 / bits); the lowest bits hold the first element."""
    if bits == 8:
        return packed
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values: Array = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return values.reshape(*packed.shape[:-1], -1)
