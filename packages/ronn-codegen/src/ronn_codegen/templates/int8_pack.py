"""Layouts of int8 products (``templates.int8_gemm``), made with NumPy alone. Imports no compiler."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_codegen.aligned import aligned_empty
from ronn_codegen.simd.target import Target

Array = np.ndarray
UNIT = 12  # rows are shared out in multiples of this
_BEHIND = 16  # entries of a table that a tile may read behind the last row


@dataclass(frozen=True)
class Int8Tile:
    """The register tiles of a target: ``rows[v - 1]`` rows by v vectors of ``lanes`` columns, v up to ``vectors``."""

    rows: tuple[int, ...]
    lanes: int
    few: tuple[int, ...]  # heights of the widest tile for what is left

    @property
    def vectors(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> int:
        """Columns of a whole panel."""
        return self.vectors * self.lanes


@cache
def tile_of(target: Target) -> Int8Tile:
    """The tiles whose sums and operands fill the registers; without a dot instruction operands take two each."""
    rows: tuple[int, ...]
    if target.registers >= 32:
        rows = (12, 12, 8, 6) if target.int8_dot else (12, 8, 6, 4)
    else:
        rows = (6, 6) if target.int8_dot else (6, 4)
    return Int8Tile(rows, target.lanes(32), (1, 3) if rows[-1] > 4 else (1, 2))


@cache
def depthwise_tile(target: Target) -> Int8Tile:
    return Int8Tile((6, 6) if target.registers >= 32 else (4, 3), target.lanes(32), ())


@cache
def planes_tile(target: Target) -> Int8Tile:
    """Square tiles of one vector, for columns that lie apart."""
    lanes = target.lanes(32)
    return Int8Tile((lanes,), lanes, ())


def pack(weights: Array, tile: Int8Tile) -> Array:
    """weights[taps, K, N] (int8) as panels, flat."""
    taps, k, n = weights.shape
    groups = -(-k // 4)
    padded_n = -(-n // tile.lanes) * tile.lanes
    padded = np.zeros((taps, groups * 4, padded_n), np.int8)
    padded[:, :k, :n] = weights
    grouped = padded.reshape(taps, groups, 4, padded_n).transpose(0, 1, 3, 2)
    parts = [grouped[:, :, at : at + tile.columns].reshape(-1) for at in range(0, padded_n, tile.columns)]
    return _joined(parts, np.int8)


def _joined(parts: list[Array], dtype: Any) -> Array:
    out = aligned_empty((sum(p.size for p in parts),), dtype)
    return np.concatenate(parts, out=out) if parts else out


def pad_columns(values: Array, n: int, tile: Int8Tile, dtype: Any) -> Array:
    """A value per column, or one for all, with zeros up to whole vectors."""
    out = np.zeros(-(-n // tile.lanes) * tile.lanes, dtype)
    out[:n] = values
    return out


def rows_table(offsets: Array) -> Array:
    """Byte offsets of left rows (int32) with the last one repeated, as tiles may read past the end."""
    flat = np.asarray(offsets, np.int32).reshape(-1)
    return np.concatenate([flat, np.full(_BEHIND, flat[-1] if flat.size else 0, np.int32)])


def row_sums(weights: Array, zeros: Array | int = 0) -> Array:
    """Sums over K of weights[taps, K, N] less their zero points: int32 [N]."""
    sums: Array = (weights.astype(np.int64) - zeros).sum(axis=(0, 1))
    return sums.astype(np.int32)


def pack_depthwise(weights: Array, tile: Int8Tile) -> Array:
    """weights[taps, N] (int8), one filter per column, as panels ``[tap, column]``, flat."""
    return pack_rows(weights, tile.lanes, tile.columns)


def pack_rows(weights: Array, lanes: int, columns: int) -> Array:
    """weights[K, N] as panels ``[K, columns]``, flat; the last as wide as its columns need in whole vectors."""
    k, n = weights.shape
    padded = np.zeros((k, -(-n // lanes) * lanes), weights.dtype)
    padded[:, :n] = weights
    parts = [padded[:, at : at + columns].reshape(-1) for at in range(0, padded.shape[1], columns)]
    return _joined(parts, weights.dtype)
