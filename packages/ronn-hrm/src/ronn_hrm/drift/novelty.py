"""The novelty alarm: tells without labels that inputs are further from what is known than they were, or harder for the
cheap model.

Quick, and without a guarantee: inputs may become stranger and stay right, or go wrong and look familiar.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn_hrm.errors import CalibrationError, StateError

POINTS = 255
"""Quantiles that are kept of the reference."""


class NoveltyAlarm:
    """An exponentially weighted mean of ranks, against a reference.

    The rank of a value is the share of the reference below it: 1/2 on average, with variance 1/12, as long as values
    come from the same distribution, whatever that is; and a single odd value moves it little. The alarm is when the
    mean of ranks is ``sigmas`` standard deviations too high; with the defaults that is some 10^5 requests apart where
    nothing changes, and a rank of 0.75 on average is found after 40.

    reference: float64, sorted quantiles of the novelty (say, the mean distance to the nearest neighbours) of ``size``
    requests of the kind that is usual. weight: of the newest rank. Not locked.
    """

    __slots__ = ("_limit", "_mean", "_reference", "_scale", "count", "sigmas", "size", "weight")

    def __init__(self, reference: list[float], size: int, weight: float = 0.02, sigmas: float = 4.0) -> None:
        self._reference, self.size, self.weight, self.sigmas = reference, size, weight, sigmas
        self._scale = 0.5 / len(reference)
        # The reference is a sample too: its own mean rank is uncertain by 1 / (12 size).
        self._limit = sigmas * math.sqrt((weight / (2.0 - weight) + 1.0 / size) / 12.0)
        self.reset()

    @classmethod
    def learn(cls, values: Any, weight: float = 0.02, sigmas: float = 4.0) -> NoveltyAlarm:
        """values: novelty [N] of calibration records, in any order; NaN are left out."""
        known = np.asarray(values, np.float64).ravel()
        known = known[np.isfinite(known)]
        if len(known) < 2:
            raise CalibrationError(
                f"the novelty alarm needs two records at least with a novelty; there are {len(known)}",
                hint="novelty needs an embedding and remembered inputs",
            )
        count = min(POINTS, len(known))
        points = np.quantile(known, (np.arange(count) + 0.5) / count)
        return cls([float(x) for x in points], len(known), weight, sigmas)

    def reset(self) -> None:
        """Forgets all requests, not the reference."""
        self._mean, self.count = 0.0, 0

    def update(self, value: float) -> bool:
        """Takes the novelty of one request; whether there is an alarm. NaN is passed over."""
        if value != value:
            return False
        reference = self._reference
        rank = (bisect_left(reference, value) + bisect_right(reference, value)) * self._scale - 0.5
        self._mean += self.weight * (rank - self._mean)
        self.count += 1
        return self._mean > self._limit

    @property
    def value(self) -> float:
        """The mean of ranks in standard deviations; the alarm is at ``sigmas``."""
        return self._mean / self._limit * self.sigmas

    def as_data(self) -> dict[str, Any]:
        return {
            "reference": list(self._reference),
            "size": self.size,
            "weight": self.weight,
            "sigmas": self.sigmas,
            "mean": self._mean,
            "count": self.count,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> NoveltyAlarm:
        """Goes on where ``as_data`` was; raises ``StateError`` for data of another kind."""
        try:
            reference = [float(x) for x in data["reference"]]
            if sorted(reference) != reference or not reference:
                raise ValueError("the reference is not sorted")
            found = cls(reference, int(data["size"]), float(data["weight"]), float(data["sigmas"]))
            found._mean, found.count = float(data["mean"]), int(data["count"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as e:
            raise StateError(f"what was kept of the novelty alarm cannot be read: {e!r}") from e
        return found


class Strangeness:
    """Several novelty alarms, each on a signal of its own (``novelty`` of the input, ``doubt`` of the router): the
    first that reaches its limit counts. signals: by name, in the order in which ``update`` takes their values. Not
    locked."""

    __slots__ = ("_alarms", "signals")

    def __init__(self, signals: Mapping[str, NoveltyAlarm]) -> None:
        self.signals = dict(signals)
        self._alarms = tuple(self.signals.values())

    def update(self, values: Sequence[float]) -> bool:
        """Takes one value of each signal; whether there is an alarm. NaN are passed over."""
        found = False
        for alarm, value in zip(self._alarms, values, strict=True):
            found |= alarm.update(value)
        return found

    @property
    def leading(self) -> str:
        """The signal that is nearest to its limit."""
        return max(self.signals, key=lambda name: self.signals[name].value)

    @property
    def value(self) -> float:
        """Of the leading signal, in standard deviations."""
        return self.signals[self.leading].value

    @property
    def count(self) -> int:
        return self.signals[self.leading].count

    @property
    def sigmas(self) -> float:
        return self.signals[self.leading].sigmas

    def as_data(self) -> dict[str, Any]:
        return {"signals": {name: alarm.as_data() for name, alarm in self.signals.items()}}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Strangeness:
        """Goes on where ``as_data`` was. StateError for data of another kind."""
        try:
            return cls({str(name): NoveltyAlarm.from_data(kept) for name, kept in data["signals"].items()})
        except (KeyError, AttributeError, TypeError) as e:
            raise StateError(f"what was kept of the novelty alarm cannot be read: {e!r}") from e
