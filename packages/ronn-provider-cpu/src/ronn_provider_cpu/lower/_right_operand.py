"""Constant right operands of matrix products, packed piece by piece.

A piece of a mapped file is given back as soon as it is packed: a large operand is never in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ronn.mapped import give_back
from ronn_codegen.aligned import aligned_empty
from ronn_codegen.native.library import Library
from ronn_codegen.templates.gemm_shape import Tile, last_step, packed_size

_PIECE = 2**20  # elements that are packed at a time, about

Array = np.ndarray


def pack_right(library: Library, matrices: Array, tile: Tile) -> Array:
    """The packed form of float32 B[batch, k, n] of any strides: float32[batch, packed elements]."""
    count, k, n = matrices.shape
    out = aligned_empty((count, packed_size(k, n, tile)), np.float32)
    pack = library.kernel("ronn_codegen.templates.gemm_pack", "pack_f32")

    def put(piece: Array, panels: int, columns: int, to: Array, step: int) -> None:
        """Packs panels of ``columns`` columns each; they begin ``step`` elements apart."""
        if 4 not in piece.strides or piece.dtype != np.float32:
            piece = np.ascontiguousarray(piece, np.float32)
        row, column = (s // 4 for s in piece.strides)
        steps = piece.shape[0]
        pack(steps, columns, panels, piece.ctypes.data, row, column, columns * column, to.ctypes.data, step)

    width, last = tile.columns, last_step(n, tile)
    whole = (n - 1) // width * width  # columns of the panels before the last
    for b, to in zip(matrices, out, strict=True):
        for rows, columns in _pieces(b, width):
            piece, first = b[rows, columns], rows.start
            inner = min(columns.stop, whole) - columns.start
            if inner > 0:
                put(piece[:, :inner], inner // width, width, to[columns.start * k + first * width :], k * width)
            if columns.stop > whole:
                put(piece[:, max(inner, 0) :], 1, n - whole, to[whole * k + first * last :], 0)
            give_back(piece)
    return out


def _pieces(b: Array, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of pieces of B[k, n] that lie together in memory; columns begin at panels of ``width``."""
    k, n = b.shape
    if b.strides[0] >= b.strides[1]:
        size = max(_PIECE // n, 1)
        yield from ((slice(i, min(i + size, k)), slice(0, n)) for i in range(0, k, size))
    else:
        size = max(_PIECE // k // width, 1) * width
        yield from ((slice(0, k), slice(j, min(j + size, n))) for j in range(0, n, size))
