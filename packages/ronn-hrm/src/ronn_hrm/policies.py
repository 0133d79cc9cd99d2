"""Policies: which of the two paths answers, once a request has been scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.records import dataclass


@dataclass(frozen=True, slots=True)
class _Simple:
    """What the policies have in common: a kind, and no say in the threshold."""

    @property
    def asks_fast(self) -> bool:
        return True

    @property
    def certified(self) -> bool:
        return False

    def threshold(self, scores: np.ndarray, certified: float) -> float:
        """The threshold on scores, from those of calibration records and the one that they certify."""
        return certified

    def fast(self, score: float, lam: float, features: Sequence[float]) -> bool:
        return score >= lam

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @property
    def kind(self) -> str:
        return "?"


@dataclass(frozen=True, slots=True)
class Cascade(_Simple):
    """The cheap model answers where its score reaches the certified threshold; without a certificate nowhere."""

    @property
    def kind(self) -> str:
        return "cascade"

    @property
    def certified(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class AlwaysFull(_Simple):
    """The expensive model answers everything that memory does not. The cheap one is not asked."""

    @property
    def kind(self) -> str:
        return "always-full"

    @property
    def asks_fast(self) -> bool:
        return False

    def fast(self, score: float, lam: float, features: Sequence[float]) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class AlwaysFast(_Simple):
    """The cheap model answers everything, whatever it is worth: no guarantee."""

    @property
    def kind(self) -> str:
        return "always-fast"

    def fast(self, score: float, lam: float, features: Sequence[float]) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class StaticThreshold(_Simple):
    """The cheap model answers where its best class has at least the probability ``confidence``: no guarantee.

    It looks at the assessor's first feature, the log-odds of the best class.
    """

    confidence: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence < 1.0:
            raise OptionError(f"confidence={self.confidence} is not between 0 and 1")

    @property
    def kind(self) -> str:
        return "static-threshold"

    def fast(self, score: float, lam: float, features: Sequence[float]) -> bool:
        return features[0] >= math.log(self.confidence / (1.0 - self.confidence))

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "confidence": self.confidence}


@dataclass(frozen=True, slots=True)
class Budgeted(_Simple):
    """At most the share ``full`` of what is scored goes to the expensive model (of calibration traffic): the threshold
    is lowered below the certified one where that is needed. The certificate then tells the risk that is left."""

    full: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.full <= 1.0:
            raise OptionError(f"full={self.full} is no share", hint="0.2: one request in five")

    @property
    def kind(self) -> str:
        return "budgeted"

    @property
    def certified(self) -> bool:
        return True

    def threshold(self, scores: np.ndarray, certified: float) -> float:
        if len(scores) == 0:
            return certified
        ordered = np.sort(scores)
        allowed = ordered[min(math.floor(self.full * len(ordered)), len(ordered) - 1)]
        return min(certified, float(allowed))

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "full": self.full}
