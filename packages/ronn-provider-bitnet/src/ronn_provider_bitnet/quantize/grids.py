"""Grids of a few values, fitted to weights: how a group of weights is rounded.

A ``Grid`` has the values of each row of a group; ``fit(w)`` makes it for f32[N, G]. Fits minimise the squared error of
the weights themselves; ``ronn_provider_bitnet.quantize.gptq`` then rounds with regard to the inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ronn.records import dataclass

Array = np.ndarray


@dataclass(frozen=True)
class Grid:
    """``(code - zero) * scale`` with codes from 0 to ``top``: scale and zero are f32[N]."""

    scale: Array
    zero: Array
    top: int

    def codes(self, w: Array) -> Array:
        """The nearest codes (u8) of w: f32[N], or f32[N, G]."""
        scale, zero = self._like(w)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(scale > 0, np.rint(w / scale + zero), zero)
        return np.clip(np.nan_to_num(found), 0, self.top).astype(np.uint8)

    def values(self, codes: Array) -> Array:
        """What codes stand for, as float32."""
        scale, zero = self._like(codes)
        return ((codes.astype(np.float32) - zero) * scale).astype(np.float32)

    def _like(self, w: Array) -> tuple[Array, Array]:
        return (self.scale, self.zero) if w.ndim == 1 else (self.scale[:, None], self.zero[:, None])


Fit = Callable[[Array], Grid]


def ternary(w: Array) -> Grid:
    """-s, 0 and s with the least squared error there is: of the m largest magnitudes, whose mean is s, the m for which
    sum**2 / m is largest (Ternary Weight Networks, Li et al., 2016, with the exact optimum instead of its estimate)."""
    sizes = -np.sort(-np.abs(w), axis=1)
    sums = np.cumsum(sizes, axis=1, dtype=np.float64)
    counts = np.arange(1, w.shape[1] + 1)
    best = np.argmax(sums**2 / counts, axis=1)
    scale = (sums[np.arange(len(w)), best] / counts[best]).astype(np.float32)
    return Grid(scale, np.ones(len(w), np.float32), 2)


def ternary_absmean(w: Array) -> Grid:
    """-s, 0 and s with s the mean magnitude, as BitNet b1.58 has it (Ma et al., 2024)."""
    return Grid(np.abs(w).mean(axis=1, dtype=np.float64).astype(np.float32), np.ones(len(w), np.float32), 2)


@dataclass(frozen=True)
class BinaryGrid(Grid):
    """-s and s: a code is the sign, and stands for ``(2 * code - 1) * scale``."""

    def codes(self, w: Array) -> Array:
        return (w >= 0).astype(np.uint8)

    def values(self, codes: Array) -> Array:
        scale, _ = self._like(codes)
        return ((2 * codes.astype(np.float32) - 1) * scale).astype(np.float32)


def binary(w: Array) -> Grid:
    """-s and s, s the mean magnitude: the least squared error there is (XNOR-Net, Rastegari et al., 2016)."""
    return BinaryGrid(np.abs(w).mean(axis=1, dtype=np.float64).astype(np.float32), np.zeros(len(w), np.float32), 1)


def uniform(bits: int, *, steps: int = 24, least: float = 0.4) -> Fit:
    """A fit of equal steps from the smallest to the largest weight, clipped to the part of that range, of ``steps``
    from ``least`` of it on, that has the least squared error. Zero points are whole codes, so that 0 stays 0."""
    top = (1 << bits) - 1

    def fit(w: Array) -> Grid:
        low, high = np.minimum(w.min(axis=1), 0), np.maximum(w.max(axis=1), 0)
        best = np.full(len(w), np.inf)
        scale, zero = np.zeros(len(w), np.float32), np.zeros(len(w), np.float32)
        for part in np.linspace(least, 1, steps):
            wide = ((high - low) * part / top).astype(np.float32)
            with np.errstate(divide="ignore", invalid="ignore"):
                place = np.clip(np.nan_to_num(np.rint(-low * part / wide)), 0, top).astype(np.float32)
            grid = Grid(wide, place, top)
            error = ((grid.values(grid.codes(w)) - w) ** 2).sum(axis=1, dtype=np.float64)
            better = error < best
            best = np.where(better, error, best)
            scale, zero = np.where(better, wide, scale), np.where(better, place, zero)
        return Grid(scale.astype(np.float32), zero.astype(np.float32), top)

    return fit


_TWO = uniform(2, steps=32, least=0.15)
FITS: dict[str, Fit] = {"1": binary, "1.58": ternary, "2": _TWO, "4": uniform(4), "8": uniform(8)}
"""By the bits that people ask for."""
