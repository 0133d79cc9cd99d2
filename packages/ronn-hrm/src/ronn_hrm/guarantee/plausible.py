"""Whether calibration records that were given can be of the same traffic as those that audits drew from it."""

from __future__ import annotations

import math

import numpy as np

LEVEL = 1e-4
"""How often records of the same traffic are called implausible, a look."""
LEAST = 50
"""Records on either side below which nothing is said."""


def fewer_by_chance(wrong: int, n: int, others_wrong: int, others: int) -> float:
    """Probability of ``wrong`` or fewer among ``n`` where all that are wrong fall at random on both groups (Fisher's
    exact test, one-sided)."""
    total, every = wrong + others_wrong, n + others

    def log_choose(a: int, b: int) -> float:
        return math.lgamma(a + 1) - math.lgamma(b + 1) - math.lgamma(a - b + 1)

    whole = log_choose(every, total)
    low = max(0, total - others)
    return min(
        1.0, sum(math.exp(log_choose(n, k) + log_choose(others, total - k) - whole) for k in range(low, wrong + 1))
    )


def implausible(given: np.ndarray, live: np.ndarray) -> str:
    """Why losses of given records, float64 [N], look too good beside those of audited traffic, float64 [M]; else empty.

    A record counts as wrong where its loss is above the median of the audited ones (0 where most agree), so losses of
    any kind can be compared. One-sided: records that are worse than the traffic only make a certificate careful.
    """
    if min(len(given), len(live)) < LEAST:
        return ""
    bar = float(np.median(live))
    wrong, seen = int((given > bar).sum()), int((live > bar).sum())
    chance = fewer_by_chance(wrong, len(given), seen, len(live))
    if chance >= LEVEL:
        return ""
    return (
        f"the models disagree on {wrong} of {len(given)} calibration inputs that were given, and on {seen} of "
        f"{len(live)} requests that were audited: with inputs like the traffic that has a chance of {chance:.1g}; they "
        "look as if a model had been trained on them"
    )
