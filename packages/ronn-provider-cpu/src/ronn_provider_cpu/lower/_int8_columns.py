"""Constant weights of bytes, taken less their zero points and packed a block of columns at a time.

Differences need 16 bits and parts of them further arrays: of blocks these are small, whatever the size of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ronn_codegen.aligned import aligned_empty
from ronn_codegen.templates.int8_pack import Int8Tile, pack, pack_depthwise
from ronn_provider_cpu.lowering import I8

_BLOCK = 2**18  # elements, about

Array = np.ndarray
Arrange = Callable[[Array], Array]
"""From weights as they are stored to ``[taps, K, N]`` (or ``[taps, N]``), with zeros where it pads."""


class Differences:
    """``arrange(weights - zeros)``, by blocks of columns."""

    def __init__(self, weights: Array, zeros: Array, arrange: Arrange) -> None:
        self.values = arrange(weights)
        self.zeros = arrange(np.broadcast_to(zeros, weights.shape)) if zeros.any() else None
        self.n = self.values.shape[-1]

    def blocks(self, width: int) -> Iterator[tuple[slice, Array]]:
        """Columns and int16[..., columns]; blocks begin at multiples of ``width``."""
        step = max(_BLOCK * max(self.n, 1) // max(self.values.size, 1) // width, 1) * width
        for first in range(0, self.n, step):
            columns = slice(first, min(first + step, self.n))
            block = self.values[..., columns].astype(np.int16)
            if self.zeros is not None:
                block -= self.zeros[..., columns]
            yield columns, block

    def facts(self) -> Array:
        """int32[N + 1]: the sum of each column, and how many signed bytes the largest difference takes."""
        out = np.ones(self.n + 1, np.int32)
        for columns, block in self.blocks(1):
            out[columns] = block.sum(tuple(range(block.ndim - 1)), dtype=np.int64)
            if block.size:
                out[-1] = max(out[-1], -(-int(block.max()) // 127), -(int(block.min()) // 128))
        return out

    def packed(self, count: int, tile: Int8Tile) -> Array:
        """Panels of the ``count`` parts that add up to the differences."""
        taps, k, _ = self.values.shape
        out = _Panels(taps * count * -(-k // 4) * 4, self.n, tile)
        for columns, block in self.blocks(tile.columns):
            stacked = np.stack(list(_parts(block, count)), 1).reshape(taps * count, k, -1)
            out.put(columns, pack(stacked, tile))
        return out.all

    def packed_depthwise(self, tile: Int8Tile) -> Array:
        """Panels of differences that are signed bytes, one filter per column."""
        out = _Panels(self.values.shape[0], self.n, tile)
        for columns, block in self.blocks(tile.columns):
            out.put(columns, pack_depthwise(block.astype(np.int8), tile))
        return out.all


def packed_signed(weights: Array, arrange: Arrange, tile: Int8Tile) -> Array:
    """Panels of the weights themselves; unsigned ones less 128."""
    values = arrange(weights if weights.dtype == I8 else (weights ^ 128).view(np.int8))
    taps, k, n = values.shape
    out = _Panels(taps * -(-k // 4) * 4, n, tile)
    step = max(_BLOCK * max(n, 1) // max(values.size, 1) // tile.columns, 1) * tile.columns
    for first in range(0, n, step):
        columns = slice(first, min(first + step, n))
        out.put(columns, pack(values[..., columns], tile))
    return out.all


class _Panels:
    """Room for packed columns of ``rows`` bytes each."""

    def __init__(self, rows: int, n: int, tile: Int8Tile) -> None:
        self.rows = rows
        self.all = aligned_empty((rows * -(-n // tile.lanes) * tile.lanes,), np.int8)

    def put(self, columns: slice, panels: Array) -> None:
        start = self.rows * columns.start
        self.all[start : start + panels.size] = panels


def _parts(block: Array, count: int) -> Iterator[Array]:
    for _ in range(count):
        part = np.clip(block, -128, 127).astype(np.int8)
        yield part
        block = block - part
