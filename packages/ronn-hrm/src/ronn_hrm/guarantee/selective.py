"""Selective risk: the mean loss *among the answers of the cheap model* is at most alpha, with probability 1 - delta.

This risk does not fall steadily as the threshold rises, so thresholds are tested one after the other, from high to low
(learn then test, arXiv 2110.01052). Few records are above a high threshold, so that one wrong answer can fail it, while
a lower one would pass. Hence there are two starts, with half of delta each (the fallback procedure of Wiens and
Dmitrienko 2005): a test that passes hands its part of delta on to the next threshold, one that fails loses it, and the
second start brings in its own. Which thresholds, and the starts, must not depend on the records that test them.
"""

from __future__ import annotations

import math

import numpy as np

from ronn_hrm.guarantee import bounds
from ronn_hrm.guarantee.ranked import Threshold, nothing
from ronn_hrm.guarantee.settings import Guarantee
from ronn_hrm.guarantee.ucb import below, upper

PLACED = 10
"""One in so many records only places the thresholds, where none are given."""
STEPS = 64
_SLACK = 1.3
"""By how much the records above the first threshold are to exceed the fewest that can pass."""


def placing(n: int) -> int:
    """How many of ``n`` records place the thresholds."""
    return -(-n // PLACED)


def find(scores: np.ndarray, losses: np.ndarray, guarantee: Guarantee, grid: np.ndarray | None = None) -> Threshold:
    """The lowest threshold that passes. scores, losses: as ``checked`` gave. grid: scores [G] of other records than
    these; without it, the first tenth of the records is spent on it."""
    if grid is None:
        spent = placing(len(scores))
        grid, scores, losses = scores[:spent], scores[spent:], losses[spent:]
    n, alpha = len(scores), guarantee.alpha
    bound = guarantee.bound_for(bool(((losses == 0.0) | (losses == 1.0)).all()))
    first = min(1.0, _SLACK * fewest(alpha, guarantee.delta / 2, bound) / n)
    best, reason, level = None, "none of the records that place thresholds has a score", 0.0
    for lam, part in zip(*sequence(grid, first), strict=True):
        level += part * guarantee.delta
        if level == 0.0:
            continue
        inside = losses[scores >= lam]
        if len(inside) and below(inside, len(inside), alpha, level, bound):
            best = (float(lam), inside, level)
            continue
        if best is None:
            found = upper(inside, len(inside), level, bound) if len(inside) else 1.0
            reason = (
                f"the risk among the {len(inside)} of {n} records with a score of {lam:.3g} or more is bounded by "
                f"{found:.3g}, which is above alpha={alpha:g}"
            )
        level = 0.0
    if best is None:
        return nothing(n, reason)
    lam, inside, level = best
    found = min(alpha, upper(inside, len(inside), level, bound))
    return Threshold(lam, n, float(inside.sum()), len(inside) / n, found)


def fewest(alpha: float, delta: float, bound: str) -> int:
    """The fewest answers of the cheap model, all of them right, that can pass."""
    if bound == "betting":
        return bounds.least_bets(alpha, delta)
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def sequence(scores: np.ndarray, first: float) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds by falling score, and the part of delta that each brings in.

    They are quantiles of ``scores``, from the one that a share of ``first`` reaches to the lowest; the second start is
    where the square root of ``first`` does.
    """
    known = np.sort(scores[np.isfinite(scores)])[::-1]
    shares = np.linspace(first, 1.0, STEPS)
    parts = np.zeros(STEPS)
    parts[0] += 0.5
    parts[np.searchsorted(shares, math.sqrt(first))] += 0.5
    places = np.ceil(shares * len(scores)).astype(np.int64) - 1
    # Records without a score lie below all thresholds: shares that only they would make full are out of reach.
    reached = places < len(known)
    lams, at = np.unique(-known[places[reached]], return_inverse=True)
    return -lams, np.bincount(at, weights=parts[reached], minlength=len(lams))
