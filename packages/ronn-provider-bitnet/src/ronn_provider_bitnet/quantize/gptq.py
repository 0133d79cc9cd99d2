"""GPTQ: rounds weights column by column, and lets the columns still to come make up for each error (Frantar et al.,
2022, https://arxiv.org/abs/2210.17323)."""

from __future__ import annotations

import numpy as np

from ronn.records import dataclass
from ronn_provider_bitnet.quantize.grids import Fit, Grid

Array = np.ndarray
BLOCK = 128  # columns between two updates of all that follow
DAMPING = 0.01  # of the mean of the Hessian's diagonal, added to it


@dataclass(frozen=True)
class Rounded:
    """Codes u8[N, K], and a grid for each group of ``group`` columns."""

    codes: Array
    grids: tuple[Grid, ...]
    group: int

    @property
    def values(self) -> Array:
        """The rounded weights, f32[N, K]."""
        parts = [
            grid.values(self.codes[:, g * self.group : (g + 1) * self.group]) for g, grid in enumerate(self.grids)
        ]
        return np.concatenate(parts, axis=1)

    @property
    def scale(self) -> Array:
        """f32[N, groups]."""
        return np.stack([grid.scale for grid in self.grids], axis=1)

    @property
    def zero(self) -> Array:
        """f32[N, groups]."""
        return np.stack([grid.zero for grid in self.grids], axis=1)


def nearest(w: Array, fit: Fit, group: int = 0) -> Rounded:
    """Each weight of f32[N, K] to the nearest value of its group's grid. group: columns with one scale; 0: all."""
    k = w.shape[1]
    width = group if group else k
    starts = range(0, k, width)
    grids = tuple(fit(w[:, s : s + width]) for s in starts)
    codes = [grid.codes(w[:, s : s + width]) for grid, s in zip(grids, starts, strict=True)]
    return Rounded(np.concatenate(codes, axis=1), grids, width)


def gptq(w: Array, hessian: Array, fit: Fit, group: int = 0, damping: float = DAMPING) -> Rounded:
    """Rounds f32[N, K] so that products with inputs of ``hessian`` (f64[K, K]: the sum of their outer products) change
    least. Columns go in the model's order; grids are fitted to a group when it is reached.

    Inputs that are always 0 get weights of 0. Raises numpy.linalg.LinAlgError where the Hessian cannot be inverted even
    with damping.
    """
    n, k = w.shape
    width = group if group else k
    left = w.astype(np.float64)
    h = hessian.astype(np.float64)
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    left[:, dead] = 0
    h[np.diag_indices(k)] += damping * np.mean(np.diag(h))
    # The upper Cholesky factor of the inverse: row i has what column i's error means for those behind it.
    inverse = np.linalg.cholesky(np.linalg.inv(h)).T
    codes = np.zeros((n, k), np.uint8)
    grids: list[Grid] = []
    for start in range(0, k, BLOCK):
        stop = min(start + BLOCK, k)
        errors = np.zeros((n, stop - start))
        for i in range(start, stop):
            if i % width == 0:
                # Errors of this block have been taken into its own columns only: the group's others get theirs now.
                ahead = left[:, i : i + width].copy()
                if i > start and i + width > stop:
                    ahead[:, stop - i :] -= errors[:, : i - start] @ inverse[start:i, stop : i + width]
                grids.append(fit(ahead.astype(np.float32)))
            grid = grids[-1]
            column = left[:, i].astype(np.float32)
            codes[:, i] = grid.codes(column)
            error = (left[:, i] - grid.values(codes[:, i])) / inverse[i, i]
            left[:, i:stop] -= np.outer(error, inverse[i, i:stop])
            errors[:, i - start] = error
        left[:, stop:] -= errors @ inverse[start:stop, stop:]
    return Rounded(codes, tuple(grids), width)
