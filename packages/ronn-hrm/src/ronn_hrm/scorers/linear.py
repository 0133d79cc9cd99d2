"""Scorers that add up one straight line a feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from ronn.errors import OptionError
from ronn_hrm.scorers import irls
from ronn_hrm.scorers.registry import register

DIRECTIONS = {
    "confidence": 1.0, "margin": 1.0, "entropy": -1.0, "novelty": -1.0, "agreement": 1.0, "contrast": 1.0,
}  # fmt: skip
"""Which way features are known to point: +1 where more of it means surer. Others have to be learnt."""

EXPECTED = 0.3
"""Log-odds a standard deviation that a feature with a known direction is expected to add before anything is learnt."""


class LinearScorer:
    """Score ``bias + sum(weight * (feature - centre))``; where a feature is not finite, ``missing`` in its place.

    names: of the features that it takes; at: where each is among the assessor's. Frozen: nothing of it changes.
    """

    kind: ClassVar[str] = "linear"
    __slots__ = ("_terms", "at", "bias", "names")

    def __init__(
        self,
        names: Sequence[str],
        at: Sequence[int],
        weight: Sequence[float],
        centre: Sequence[float],
        missing: Sequence[float],
        bias: float,
    ) -> None:
        self.names = tuple(names)
        self.at = tuple(int(i) for i in at)
        self.bias = float(bias)
        columns = [[float(v) for v in column] for column in (weight, centre, missing)]
        if any(len(column) != len(self.names) for column in (self.at, *columns)):
            raise ValueError(f"{len(self.names)} features, but not as many numbers for them")
        if not all(math.isfinite(v) for column in columns for v in column) or not math.isfinite(self.bias):
            raise ValueError("numbers of a scorer have to be finite")
        self._terms = tuple(zip(self.at, *columns, strict=True))

    def score(self, features: Sequence[float]) -> float:
        total = self.bias
        for at, weight, centre, missing in self._terms:
            x = float(features[at])
            total += (x - centre) * weight if x - x == 0.0 else missing
        return total

    def parts(self, features: Sequence[float]) -> tuple[tuple[str, float], ...]:
        """What each feature adds to the score, in order."""
        found = []
        for name, (at, weight, centre, missing) in zip(self.names, self._terms, strict=True):
            x = float(features[at])
            found.append((name, (x - centre) * weight if x - x == 0.0 else missing))
        return tuple(found)

    def score_many(self, features: np.ndarray) -> np.ndarray:
        rows = np.asarray(features, np.float64)
        total = np.full(len(rows), self.bias)
        for at, weight, centre, missing in self._terms:
            x = rows[:, at]
            there = np.isfinite(x)
            total = total + np.where(there, (np.where(there, x, centre) - centre) * weight, missing)
        return total

    def as_data(self) -> dict[str, Any]:
        _, weight, centre, missing = zip(*self._terms, strict=True) if self._terms else ((), (), (), ())
        return {
            "kind": self.kind, "names": list(self.names), "at": list(self.at), "weight": list(weight),
            "centre": list(centre), "missing": list(missing), "bias": self.bias,
        }  # fmt: skip

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The scorer that ``as_data`` described."""
        return cls(data["names"], data["at"], data["weight"], data["centre"], data["missing"], data["bias"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinearScorer) and self.as_data() == other.as_data()

    def __hash__(self) -> int:
        return hash((self.kind, self.names, self._terms, self.bias))

    def __repr__(self) -> str:
        lines = ", ".join(f"{n} {t[1]:+.3g}" for n, t in zip(self.names, self._terms, strict=True))
        return f"{type(self).__name__}({lines}, bias {self.bias:+.3g})"


class LogisticScorer(LinearScorer):
    """Logistic regression on standardised features, by Newton's method with a ridge.

    The ridge draws weights not to zero but to the direction that a feature is known to have (``DIRECTIONS``), so that
    a scorer of few records, or of none that is wrong, ranks requests sensibly.
    """

    kind = "logistic"
    __slots__ = ()

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        names: Sequence[str],
        losses: np.ndarray,
        *,
        use: Sequence[str] | None = None,
        ridge: float = 1.0,
    ) -> Self:
        """From records: features [N, F] in the order of ``names``, losses [N] in [0, 1].

        use: names of the features to take (None: all). ridge: of the squared distance of standardised weights from
        their expected values, against the sum of log losses.
        """
        at = columns_of(names, use)
        rows, losses = records_of(features, losses)
        x = rows[:, at]
        there = np.isfinite(x)
        centre, scale = moments(x, there)
        standard = np.where(there, (x - centre) / scale, 0.0)
        # An indicator for features that are missing in some records: they say something of their own.
        partly = np.flatnonzero(~there.all(axis=0) & there.any(axis=0))
        design = np.hstack([standard, (~there[:, partly]).astype(np.float64)])
        expected = np.array([EXPECTED * DIRECTIONS.get(names[i], 0.0) for i in at] + [0.0] * len(partly))
        expected[: len(at)][~there.any(axis=0)] = 0.0
        bias, beta = irls.logistic(design, 1.0 - losses, ridge * np.eye(design.shape[1]), expected)
        weight = beta[: len(at)] / scale
        # What was never missing is doubted where it is missing later: it adds the least that it ever added.
        least = (standard * beta[: len(at)]).min(axis=0) if len(rows) else np.zeros(len(at))
        missing = np.where(there.any(axis=0), least, 0.0)
        missing[partly] = beta[len(at) :]
        return cls([names[i] for i in at], at, weight.tolist(), centre.tolist(), missing.tolist(), bias)


class _OneFeature(LinearScorer):
    """A scorer that looks at one feature."""

    __slots__ = ()
    feature: ClassVar[str] = ""

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Without records: the feature itself is the score."""
        return cls((cls.feature,), columns_of(names, (cls.feature,)), [1.0], [0.0], [-1e9], 0.0)

    @classmethod
    def fit(cls, features: np.ndarray, names: Sequence[str], losses: np.ndarray, *, ridge: float = 1.0) -> Self:
        """Log-odds by logistic regression on the one feature; the order of requests stays that of the feature."""
        one = LogisticScorer.fit(features, names, losses, use=(cls.feature,), ridge=ridge).as_data()
        weight = one["weight"][0]
        if weight * DIRECTIONS[cls.feature] <= 0.0:
            return cls.of(names)
        return cls.from_data(one)


class ConfidenceScorer(_OneFeature):
    """By the confidence of the cheap model's best class alone: what most cascades use, and a baseline."""

    kind = "confidence"
    feature = "confidence"
    __slots__ = ()


class MarginScorer(_OneFeature):
    """By the distance between the cheap model's two best classes alone."""

    kind = "margin"
    feature = "margin"
    __slots__ = ()


class SizeRule(LinearScorer):
    """A rule that asks inputs alone, not models: small, even, low-dimensional ones are easy. A baseline to beat.

    Complexity is ``0.5 * size + 0.3 * variance + 0.2 * rank / 4``, size and variance by the largest of the fit; the
    score is 0.5 minus that. Size and rank are the same for all requests of most models, so that it ranks little.
    """

    kind = "size"
    __slots__ = ()
    SHARES: ClassVar[dict[str, float]] = {"size": 0.5, "variance": 0.3, "rank": 0.2}

    @classmethod
    def fit(cls, features: np.ndarray, names: Sequence[str], losses: np.ndarray) -> Self:
        """Takes the scales of size and variance from features [N, F]; losses are not asked."""
        use = [name for name in cls.SHARES if name in names]
        at = columns_of(names, use)
        x = np.asarray(features, np.float64)[:, at]
        largest = np.where(np.isfinite(x), np.abs(x), 0.0).max(axis=0, initial=0.0)
        weight = []
        for name, most in zip(use, largest.tolist(), strict=True):
            scale = 4.0 if name == "rank" else most
            weight.append(-cls.SHARES[name] / scale if scale > 0.0 else 0.0)
        none = [0.0] * len(use)
        return cls(use, at, weight, none, [-cls.SHARES[n] for n in use], 0.5)


def unfitted(names: Sequence[str]) -> LinearScorer:
    """A scorer before there are records: by confidence, or, without it, by all features with a known direction."""
    if "confidence" in names:
        return ConfidenceScorer.of(names)
    use = [name for name in names if name in DIRECTIONS]
    none = [0.0] * len(use)
    return LinearScorer(use, columns_of(names, use), [DIRECTIONS[n] for n in use], none, [-1e9] * len(use), 0.0)


def columns_of(names: Sequence[str], use: Sequence[str] | None) -> list[int]:
    """Where the features ``use`` are among ``names`` (all, where it is None)."""
    if use is None:
        return list(range(len(names)))
    absent = [name for name in use if name not in names]
    if absent:
        raise OptionError(f"there is no feature {absent[0]!r} to score by", hint=f"one of {', '.join(names)}")
    return [list(names).index(name) for name in use]


def records_of(features: np.ndarray, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 [N, F] and losses float64 [N] of records whose loss is known."""
    rows, found = np.asarray(features, np.float64), np.asarray(losses, np.float64)
    if rows.ndim != 2 or len(rows) != len(found):
        raise OptionError(f"features {list(rows.shape)} and losses {list(found.shape)} are not of the same records")
    known = np.isfinite(found)
    return rows[known], found[known]


def moments(x: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the values that are there; 0 and 1 where that says nothing."""
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, x, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(there, x - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-12, spread, 1.0)


for _kind in (LinearScorer, LogisticScorer, ConfidenceScorer, MarginScorer, SizeRule):
    register(_kind.kind, _kind.from_data)
