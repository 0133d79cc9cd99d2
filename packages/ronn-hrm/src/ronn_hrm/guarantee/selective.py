"""Selective risk: the mean loss *among the answers of the cheap model* is at most alpha, with probability 1 - delta.

This risk does not fall steadily as the threshold rises, so thresholds are tested one after the other, from a high one
downwards, until one fails (fixed-sequence testing: learn then test, arXiv 2110.01052, sec. 2.4; cf. arXiv 1705.08500).
Which thresholds, and the first of them, must not depend on the records that test them.
"""

from __future__ import annotations

import math

import numpy as np

from ronn_hrm.guarantee import bounds
from ronn_hrm.guarantee.ranked import Threshold, nothing
from ronn_hrm.guarantee.settings import Guarantee
from ronn_hrm.guarantee.ucb import upper

PLACED = 10
"""One in so many records only places the thresholds, where none are given."""
_SLACK = 1.3
"""By how much the records above the first threshold are to exceed the fewest that can pass."""


def placing(n: int) -> int:
    """How many of ``n`` records place the thresholds."""
    return -(-n // PLACED)


def find(scores: np.ndarray, losses: np.ndarray, guarantee: Guarantee, grid: np.ndarray | None = None) -> Threshold:
    """The last threshold before one fails. scores, losses: as ``checked`` gave. grid: scores [G] of other records than
    these; without it, the first tenth of the records is spent on it."""
    if grid is None:
        spent = placing(len(scores))
        grid, scores, losses = scores[:spent], scores[spent:], losses[spent:]
    n = len(scores)
    bound = guarantee.bound_for(bool(((losses == 0.0) | (losses == 1.0)).all()))
    thresholds = sequence(grid, min(1.0, _SLACK * fewest(guarantee, bound) / n))
    best: Threshold | None = None
    reason = "no record has a score"
    for lam in thresholds:
        inside = losses[scores >= lam]
        found = upper(inside, len(inside), guarantee.delta, bound) if len(inside) else 1.0
        if not found <= guarantee.alpha:
            reason = (
                f"the risk among the {len(inside)} of {n} records with a score of {lam:.3g} or more is bounded by "
                f"{found:.3g}, which is above alpha={guarantee.alpha:g}"
            )
            break
        best = Threshold(float(lam), n, float(inside.sum()), len(inside) / n, found)
    return nothing(n, reason) if best is None else best


def fewest(guarantee: Guarantee, bound: str) -> int:
    """The fewest answers of the cheap model, all of them right, that can pass."""
    if bound == "betting":
        return bounds.least_bets(guarantee.alpha, guarantee.delta)
    return math.ceil(math.log(guarantee.delta) / math.log1p(-guarantee.alpha))


def sequence(scores: np.ndarray, first: float, steps: int = 64) -> np.ndarray:
    """Thresholds by falling score: quantiles of ``scores``, from the one that a share of ``first`` reaches."""
    known = np.sort(scores[np.isfinite(scores)])[::-1]
    places = np.ceil(np.linspace(first, 1.0, steps) * len(scores)).astype(np.int64) - 1
    return np.unique(known[places[(places >= 0) & (places < len(known))]])[::-1]
