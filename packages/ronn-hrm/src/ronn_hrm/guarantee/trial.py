"""Trials of a guarantee on a population of records: how often thresholds of single deployments miss their target."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_hrm.guarantee.kinds import calibrate
from ronn_hrm.guarantee.ranked import Ranked, Threshold, checked, nothing
from ronn_hrm.guarantee.settings import Guarantee

Calibrate = Callable[[np.ndarray, np.ndarray, Guarantee], Threshold]


@dataclass(frozen=True, slots=True)
class Violations:
    """What many draws of calibration records came to.

    draws: how many. violated: those with a true risk above alpha. share: mean true share of the cheap model. risk: mean
    true risk. certified: draws that certified anything.
    """

    draws: int
    violated: int
    share: float
    risk: float
    certified: int

    @property
    def rate(self) -> float:
        return self.violated / self.draws

    def allowed(self, delta: float) -> float:
        """The rate that chance explains: delta and two standard errors of it."""
        return delta + 2.0 * math.sqrt(delta * (1.0 - delta) / self.draws)


def violations(
    scores: Any,
    losses: Any,
    guarantee: Guarantee,
    n: int,
    draws: int = 500,
    seed: int = 0,
    by: Calibrate = calibrate,
) -> Violations:
    """Draws ``n`` of the records with replacement, ``draws`` times, and holds each threshold against all of them.

    Records drawn with replacement are exchangeable with all further ones drawn so, and their true risk is the mean over
    the population, exactly. by: the calibration to try, ``empirical`` for one without a margin.
    """
    scores, losses = checked(scores, losses)
    population = Ranked.of(scores, losses)
    size, sums = len(scores), np.append(0.0, np.cumsum(population.losses))
    rng = np.random.default_rng(seed)
    violated = certified = 0
    share = risk = 0.0
    for _ in range(draws):
        picked = rng.integers(0, size, n)
        lam = by(scores[picked], losses[picked], guarantee).lam
        inside = int(np.searchsorted(-population.scores, -lam, side="right"))
        over = inside if guarantee.kind == "selective" else size
        true = float(sums[inside]) / over if inside else 0.0
        violated += true > guarantee.alpha
        certified += math.isfinite(lam)
        share += inside / size
        risk += true
    return Violations(draws, violated, share / draws, risk / draws, certified)


def empirical(scores: Any, losses: Any, guarantee: Guarantee) -> Threshold:
    """The plain threshold of most routers: the lowest at which the risk of the records themselves is at most alpha."""
    scores, losses = checked(scores, losses)
    records = Ranked.of(scores, losses)
    rising = np.cumsum(records.losses)
    over = np.arange(1, len(rising) + 1) if guarantee.kind == "selective" else records.n
    ends = records.ends[(rising / over)[records.ends - 1] <= guarantee.alpha]
    if len(ends) == 0:
        return nothing(records.n, "the surest records are wrong too often")
    count = int(ends[-1])
    wrong = float(rising[count - 1])
    found = wrong / (count if guarantee.kind == "selective" else records.n)
    return Threshold(float(records.scores[count - 1]), records.n, wrong, count / records.n, found)
