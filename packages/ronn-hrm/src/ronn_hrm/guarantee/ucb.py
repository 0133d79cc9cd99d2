"""Risk-controlling thresholds: with probability 1 - delta over the records, the risk is at most alpha (RCPS).

The risk R(lam) = E[loss; score >= lam] falls as lam rises, and so does each test here, record by record: the lowest
threshold that passes is right unless the test errs at the one place where R crosses alpha, so trying all of them has
no price (Bates et al. 2021, arXiv 2101.02703, theorem 1).
"""

from __future__ import annotations

import math

import numpy as np

from ronn_hrm.guarantee import bounds
from ronn_hrm.guarantee.ranked import Ranked, Threshold, nothing
from ronn_hrm.guarantee.settings import Guarantee

_CHUNK = 4096


def find(records: Ranked, guarantee: Guarantee) -> Threshold:
    """The lowest threshold of which the bound is at most alpha."""
    bound = guarantee.bound_for(records.binary)
    count = records.whole(_passing(records, guarantee, bound))
    if count == 0:
        first = int(records.ends[0])
        found = upper(records.losses[:first], records.n, guarantee.delta, bound)
        return nothing(
            records.n,
            f"the risk of answering the surest {first} of {records.n} records is bounded by {found:.3g}, "
            f"which is above alpha={guarantee.alpha:g}",
        )
    losses = records.losses[:count]
    found = upper(losses, records.n, guarantee.delta, bound)
    lam = float(records.scores[count - 1])
    return Threshold(lam, records.n, float(losses.sum()), count / records.n, min(found, guarantee.alpha))


def upper(losses: np.ndarray, n: int, delta: float, bound: str) -> float:
    """The bound called so on the mean of ``n`` losses; those not among ``losses`` are 0."""
    if bound == "binomial":
        return bounds.clopper_pearson(int(np.count_nonzero(losses)), n, delta)
    if bound == "hoeffding-bentkus":
        return bounds.hoeffding_bentkus(float(losses.sum()), n, delta)
    return bounds.betting(losses[losses > 0.0], n, delta)


def below(losses: np.ndarray, n: int, alpha: float, delta: float, bound: str) -> bool:
    """Whether ``upper`` is at most alpha."""
    if bound == "binomial":
        return bounds.binomial_cdf(int(np.count_nonzero(losses)), n, alpha) <= delta
    if bound == "hoeffding-bentkus":
        return bounds.hoeffding_bentkus_p(float(losses.sum()), n, alpha) <= delta
    return bounds.bets(losses[losses > 0.0], n, alpha) >= -math.log(delta)


def _passing(records: Ranked, guarantee: Guarantee, bound: str) -> int:
    """How many of the surest records pass the test, equal scores not yet looked at."""
    alpha, delta, n = guarantee.alpha, guarantee.delta, records.n
    if bound == "binomial":
        most = bounds.most_wrong(n, alpha, delta)
        return _at_most(np.cumsum(records.losses > 0.0), most) if most >= 0 else 0
    if bound == "hoeffding-bentkus":
        total = bounds.most_total(n, alpha, delta)
        return _at_most(np.cumsum(records.losses), total) if total >= 0.0 else 0
    if n < bounds.least_bets(alpha, delta):
        return 0
    wrong = np.flatnonzero(records.losses > 0.0)
    target, paid = -math.log(delta), None
    for start in range(0, len(wrong), _CHUNK):
        part = records.losses[wrong[start : start + _CHUNK]]
        short = np.flatnonzero(bounds.log_wealth(part, n, alpha, paid) < target)
        if len(short):
            return int(wrong[start + short[0]])
        paid = bounds.log_stakes(part, alpha).sum(axis=0) + (0.0 if paid is None else paid)
    return len(records.losses)


def _at_most(rising: np.ndarray, most: float) -> int:
    return int(np.searchsorted(rising, most, side="right"))
