"""How large a mean loss can be, given n losses from 0 to 1: upper bounds that fail with probability delta at most.

Each bound belongs to a test that its name also stands for: "is a mean of ``alpha`` or more still possible?" Thresholds
ask the test (one pass over all of them), certificates print the bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

STAKES = np.sin(np.pi / 2 * np.arange(1, 33) / 32) ** 2
"""Shares of the largest bet that are mixed with equal weights: the arcsine law, which is dense where nothing was wrong
(stakes near 1) and where the mean is near the limit (stakes near 0)."""


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p): the incomplete beta function I(1 - p; n - k, k + 1)."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    return _incomplete_beta(1.0 - p, p, n - k, k + 1)


def _incomplete_beta(x: float, y: float, a: float, b: float) -> float:
    """I(x; a, b) with y = 1 - x, for 0 < x < 1."""
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    if x < (a + 1.0) / (a + b + 2.0):
        return min(1.0, math.exp(log_front) * _fraction(x, a, b) / a)
    return max(0.0, 1.0 - math.exp(log_front) * _fraction(y, b, a) / b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method.

    It needs in the order of sqrt(max(a, b)) terms where x < (a + 1) / (a + b + 2).
    """
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1000 + 20 * math.isqrt(int(max(a, b)) + 1)):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + term / c
            c = c if abs(c) > tiny else tiny
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _least_mean(possible: Callable[[float], bool], low: float) -> float:
    """The mean from ``low`` to 1 at which ``possible`` turns false, from above."""
    high = 1.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if possible(middle):
            low = middle
        else:
            high = middle
    return high


# --- losses of 0 and 1 -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def clopper_pearson(wrong: int, n: int, delta: float) -> float:
    """Upper bound on a probability after ``wrong`` of ``n`` trials (Clopper and Pearson 1934, one-sided; exact)."""
    if wrong >= n:
        return 1.0
    return _least_mean(lambda p: binomial_cdf(wrong, n, p) > delta, wrong / n)


@lru_cache(maxsize=4096)
def most_wrong(n: int, alpha: float, delta: float) -> int:
    """The largest number of wrong ones of ``n`` with which ``clopper_pearson`` is at most alpha; -1: not even none."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(middle, n, alpha) <= delta:
            low = middle
        else:
            high = middle
    return low


# --- any losses: the sum alone ---------------------------------------------------------------------------------------


def _divergence(a: float, b: float) -> float:
    """Kullback-Leibler divergence of Bernoulli(a) from Bernoulli(b), 0 < b < 1."""
    value = 0.0
    if a > 0.0:
        value += a * math.log(a / b)
    if a < 1.0:
        value += (1.0 - a) * math.log((1.0 - a) / (1.0 - b))
    return value


def hoeffding_bentkus_p(total: float, n: int, alpha: float) -> float:
    """p-value of "the mean is alpha or more" for ``n`` losses that sum up to ``total`` (arXiv 2101.02703, sec. 3)."""
    hoeffding = math.exp(-n * _divergence(min(total / n, alpha), alpha))
    bentkus = math.e * binomial_cdf(math.ceil(total), n, alpha)
    return min(1.0, hoeffding, bentkus)


@lru_cache(maxsize=4096)
def hoeffding_bentkus(total: float, n: int, delta: float) -> float:
    """Upper bound on the mean of ``n`` losses that sum up to ``total``."""
    if total >= n:
        return 1.0
    return _least_mean(lambda mean: mean < 1.0 and hoeffding_bentkus_p(total, n, mean) > delta, total / n)


@lru_cache(maxsize=4096)
def most_total(n: int, alpha: float, delta: float) -> float:
    """The largest sum of ``n`` losses with which ``hoeffding_bentkus`` is at most alpha; -1.0: not even 0."""
    if n == 0 or hoeffding_bentkus_p(0.0, n, alpha) > delta:
        return -1.0
    low, high = 0.0, n * alpha
    while high - low > 1e-9 * n:
        middle = (low + high) / 2
        if hoeffding_bentkus_p(middle, n, alpha) <= delta:
            low = middle
        else:
            high = middle
    # Up to a whole number, the binomial part is as at that number, and bisection comes to just below it.
    whole = float(math.ceil(low))
    return whole if whole <= high + 1e-9 * n and hoeffding_bentkus_p(whole, n, alpha) <= delta else low


# --- any losses: each of them, by bets ------------------------------------------------------------------------------


def _log_mean(log_wealth: np.ndarray) -> np.ndarray:
    """log of the mean of exp over the last axis."""
    top = log_wealth.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(log_wealth - safe[..., None]).mean(axis=-1)) + safe)


def log_wealth(losses: np.ndarray, n: int, mean: float, given: np.ndarray | None = None) -> np.ndarray:
    """log of what bets against "the mean loss is ``mean`` or more" have made of 1, after each row of ``losses``.

    losses: float64 [K], those that are not 0 yet: after row i, the first i + 1 of them are what they are and all others
    of the ``n`` are 0. given: sums of ``log_stakes`` of losses before these. Bets are fixed beforehand (``STAKES`` of
    the largest that cannot ruin, 1 / (1 - mean)), each on all losses, so wealth falls with every loss and does not
    depend on their order. The mixture is a nonnegative martingale where the mean is ``mean``, a supermartingale where
    it is more: it reaches 1 / delta ever with probability delta at most (arXiv 2010.09686, sec. 4 and B.3).
    """
    bets = STAKES / (1.0 - mean)
    paid = np.cumsum(log_stakes(losses, mean), axis=0)
    if given is not None:
        paid += given
    return _log_mean(paid + n * np.log1p(bets * mean))


def log_stakes(losses: np.ndarray, mean: float) -> np.ndarray:
    """log of the factor [K, stakes] by which each loss lowers the wealth of each stake against a loss of 0."""
    bets = STAKES / (1.0 - mean)
    with np.errstate(divide="ignore"):
        factor = np.log(np.maximum(1.0 + bets * (mean - losses[:, None]), 0.0))
    return np.asarray(factor - np.log1p(bets * mean))


def bets(losses: np.ndarray, n: int, mean: float) -> float:
    """log of the wealth after all ``n`` losses, of which ``losses`` are those that are not 0."""
    values, times = np.unique(losses, return_counts=True)
    return _bets(values, times, n, mean)


def _bets(values: np.ndarray, times: np.ndarray, n: int, mean: float) -> float:
    paid = (times[:, None] * log_stakes(values, mean)).sum(axis=0)
    return float(_log_mean(paid + n * np.log1p(STAKES / (1.0 - mean) * mean)))


def betting(losses: np.ndarray, n: int, delta: float) -> float:
    """Upper bound on the mean of ``n`` losses, of which ``losses`` are those that are not 0; valid at all times n."""
    if n == 0 or losses.sum() >= n:
        return 1.0
    values, times = np.unique(losses, return_counts=True)
    return _betting(tuple(values.tolist()), tuple(times.tolist()), n, delta)


@lru_cache(maxsize=4096)
def _betting(values: tuple[float, ...], times: tuple[int, ...], n: int, delta: float) -> float:
    of, often, target = np.array(values, np.float64), np.array(times, np.float64), -math.log(delta)

    def possible(mean: float) -> bool:
        return mean <= 0.0 or (mean < 1.0 and _bets(of, often, n, mean) < target)

    return _least_mean(possible, float(of @ often) / n)


@lru_cache(maxsize=256)
def least_bets(alpha: float, delta: float) -> int:
    """The fewest losses, all 0, with which ``betting`` is at most alpha."""
    target, growth = -math.log(delta), np.log1p(STAKES / (1.0 - alpha) * alpha)
    low, high = 0, 1
    while float(_log_mean(high * growth)) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if float(_log_mean(middle * growth)) < target:
            low = middle
        else:
            high = middle
    return high
