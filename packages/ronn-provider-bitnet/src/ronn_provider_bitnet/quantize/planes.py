"""Two ternary planes: each weight is ``a * s + b * t`` with a and b of -1, 0 and 1, s and t by row and group.

Nine values that need not be equally far apart; the planes are fitted in turn, as in PTQTP (Xiao et al., 2025,
https://arxiv.org/abs/2509.16989): values to the nearest of the nine, then both scales by least squares.
"""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_provider_bitnet.quantize.gptq import Rounded
from ronn_provider_bitnet.quantize.grids import Grid, ternary

Array = np.ndarray
ROUNDS = 12


@dataclass(frozen=True)
class PlanesGrid(Grid):
    """A code is ``3 * (a + 1) + b + 1``; ``scale`` goes with a, ``second`` (f32[N]) with b."""

    second: Array

    def codes(self, w: Array) -> Array:
        best, least = np.zeros(w.shape, np.uint8), np.full(w.shape, np.inf, np.float32)
        for code in range(9):
            off = np.abs(w - self.values(np.full((1,) * w.ndim, code, np.uint8)))
            nearer = off < least
            best[nearer] = code
            least = np.where(nearer, off, least)
        return best

    def values(self, codes: Array) -> Array:
        first, second = self.scale, self.second
        if codes.ndim > 1:
            first, second = first[:, None], second[:, None]
        a, b = split(codes)
        return ((a.astype(np.float32) - 1) * first + (b.astype(np.float32) - 1) * second).astype(np.float32)


def split(codes: Array) -> tuple[Array, Array]:
    """The codes of both planes, u8 of 0 to 2."""
    return codes // np.uint8(3), codes % np.uint8(3)


def second_scale(rounded: Rounded) -> Array:
    """f32[N, groups] of the second plane."""
    return np.stack([grid.second for grid in rounded.grids if isinstance(grid, PlanesGrid)], axis=1)


def two_planes(w: Array) -> PlanesGrid:
    """Fits both planes to f32[N, G]: the second to what the first leaves, then in turn codes and scales; what is best
    of each row is kept."""
    n = len(w)
    first = ternary(w)
    second = ternary(w - first.values(first.codes(w)))
    s, t = first.scale.astype(np.float64), second.scale.astype(np.float64)
    zero, least, found = np.ones(n, np.float32), np.full(n, np.inf), (s, t)
    for _ in range(ROUNDS):
        grid = PlanesGrid(s.astype(np.float32), zero, 8, t.astype(np.float32))
        codes = grid.codes(w)
        error = ((grid.values(codes) - w).astype(np.float64) ** 2).sum(axis=1)
        better = error < least
        if not better.any():
            break
        least = np.where(better, error, least)
        found = (np.where(better, s, found[0]), np.where(better, t, found[1]))
        a, b = (part.astype(np.float64) - 1 for part in split(codes))
        s, t = _least_squares(a, b, w, s, t)
    return PlanesGrid(found[0].astype(np.float32), zero, 8, found[1].astype(np.float32))


def _least_squares(a: Array, b: Array, w: Array, s: Array, t: Array) -> tuple[Array, Array]:
    """The scales of each row for given planes; those that there are where the planes do not tell them apart."""
    aa, ab, bb = (a * a).sum(axis=1), (a * b).sum(axis=1), (b * b).sum(axis=1)
    aw, bw = (a * w).sum(axis=1), (b * w).sum(axis=1)
    apart = aa * bb - ab * ab
    usable = apart > 1e-9
    divisor = np.where(usable, apart, 1)
    new_s, new_t = (aw * bb - bw * ab) / divisor, (bw * aa - aw * ab) / divisor
    return np.where(usable, np.abs(new_s), s), np.where(usable, np.abs(new_t), t)
