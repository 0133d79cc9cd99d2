"""Streams of requests: with repeats, and with drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.hrm import digits

HOT, REPEATS, ZIPF = 400, 0.5, 1.0
PHASES = ("clean", "rotated", "mixed")
PHASE, WARM_UP = 12000, 6000


@dataclass(frozen=True)
class Stream:
    """Requests in order: ``item`` int64 [N] says which row of x [M, ...] each is (equal rows are one item), ``phase``
    int8 [N] which part of the stream it belongs to: -1 for the warm-up, which figures leave out. labels int64 [M]."""

    x: np.ndarray
    labels: np.ndarray
    item: np.ndarray
    phase: np.ndarray

    def __len__(self) -> int:
        return len(self.item)

    @property
    def counted(self) -> np.ndarray:
        """bool [N]: not warm-up."""
        return self.phase >= 0

    def starts(self, phase: int) -> int:
        """The place of the first request of a phase."""
        return int(np.flatnonzero(self.phase == phase)[0])


def zipf(count: int, of: int, rng: np.random.Generator, exponent: float = ZIPF) -> np.ndarray:
    """int64 [count] from 0 to ``of`` - 1, number r as often as 1 / (r + 1) ** exponent."""
    weight = 1.0 / np.arange(1, of + 1) ** exponent
    return np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(count)).clip(max=of - 1)


def drifting(
    x: np.ndarray, labels: np.ndarray, seed: int, *, phase: int = PHASE, warm_up: int = WARM_UP, hot: int = HOT
) -> Stream:
    """Digits, half of them repeats of ``hot`` items, the others each shifted anew by up to a pixel both ways: first as
    they are (the warm-up too), then turned by 25 degrees, then either with equal chance.

    x float32 [P, 784]: the population that they are drawn from; hot items are drawn from it too.
    """
    rng = np.random.default_rng(seed)
    count = warm_up + 3 * phase
    part = np.repeat(np.arange(-1, 3), [warm_up, phase, phase, phase]).astype(np.int8)
    turned = (part == 1) | ((part == 2) & (rng.random(count) < 0.5))
    repeat = rng.random(count) < REPEATS
    rank = zipf(count, hot, rng)
    # Items: hot ones as they are, hot ones turned, then one for each fresh request.
    source = np.concatenate([np.tile(rng.integers(0, len(x), hot), 2), rng.integers(0, len(x), int((~repeat).sum()))])
    item = np.empty(count, np.int64)
    item[repeat] = rank[repeat] + hot * turned[repeat]
    item[~repeat] = 2 * hot + np.arange(int((~repeat).sum()))
    is_turned = np.concatenate([np.zeros(hot, bool), np.ones(hot, bool), turned[~repeat]])
    images = digits.shifted(x[source], rng)
    images[hot : 2 * hot] = images[:hot]
    images[is_turned] = digits.rotated(images[is_turned])
    return Stream(images, labels[source], item, part)
