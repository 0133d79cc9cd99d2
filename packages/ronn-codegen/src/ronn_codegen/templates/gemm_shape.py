"""The register tile of matrix products and the sizes that follow from it. Imports no compiler."""

from __future__ import annotations

from ronn.records import dataclass
from ronn_codegen.simd.target import Target
from ronn_codegen.tuned import tuned

ROW_VECTORS, ROW_ELEMENTS = 1, 2  # kinds of source: a row of it is a row of C, or one element


@dataclass(frozen=True)
class Tile:
    """The register tile: ``rows`` of C by ``vectors`` of ``lanes`` columns."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes

    def rows_of(self, vectors: int) -> int:
        """Most rows of a tile of so many vectors: narrow ones leave registers for twice as many."""
        return self.rows * (2 if 2 * vectors <= self.vectors else 1)

    def tiles(self, m: int, n: int) -> int:
        """How many tiles cover ``m`` rows of ``n`` columns, about."""
        return -(-m // self.rows) * -(-n // self.columns)


def tile_of(target: Target, bits: int = 32) -> Tile:
    """The tile whose accumulators, one row of B and one broadcast fill the registers of ``target``; for float64, which
    is rare, a lower one, that takes less time to compile."""
    return Tile(6 if bits == 32 else 4, 4 if target.registers >= 32 else 2, target.lanes(bits))


def packed_size(k: int, n: int, tile: Tile) -> int:
    """Elements of the packed form of B[k, n]."""
    return k * -(-n // tile.lanes) * tile.lanes


def last_step(n: int, tile: Tile) -> int:
    """Columns of the last panel of a packed B of ``n`` columns: whole vectors."""
    left = n - (n - 1) // tile.columns * tile.columns
    return -(-left // tile.lanes) * tile.lanes


def block_of_steps(m: int, k: int, tile: Tile) -> int:
    """Steps of k of one block. One tile of rows passes over B once, so that nothing is gained by blocks."""
    most = tuned("gemm_steps", max(128, 32 * tile.lanes), m)
    if m <= tile.rows or k <= most:
        return max(k, 1)
    return -(-k // -(-k // most))


def guard(k: int, n: int, b_row: int, tile: Tile) -> int:
    """Last rows of a row-major B, ``b_row`` elements apart, where whole vectors of columns may end beyond all of B."""
    beyond = -n % tile.lanes
    return min(k, -(-beyond // b_row)) if k and beyond else 0
