"""Calibration records by score, and the threshold that comes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ronn.records import dataclass
from ronn_hrm.errors import CalibrationError


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which score on the cheap model may answer.

    lam: the lowest such score; infinite where nothing is certified. n: records that were used. wrong: the sum of losses
    of those at or above lam. share: of records at or above lam. bound: the upper bound on the risk (for ``selective``
    on that among answers of the cheap model); 0 where nothing is answered. reason: why nothing is certified, or empty.
    """

    lam: float
    n: int
    wrong: float
    share: float
    bound: float
    reason: str = ""

    @property
    def certified(self) -> bool:
        return math.isfinite(self.lam)

    def as_data(self) -> dict[str, Any]:
        """Plain values; ``lam`` is None where nothing is certified."""
        return {
            "lam": self.lam if self.certified else None,
            "n": self.n,
            "wrong": self.wrong,
            "share": self.share,
            "bound": self.bound,
            "reason": self.reason,
        }


def nothing(n: int, reason: str) -> Threshold:
    """No score is high enough."""
    return Threshold(math.inf, n, 0.0, 0.0, 0.0, reason)


def checked(scores: Any, losses: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and losses as float64 [N]; a score of -inf becomes NaN (never answered), +inf the largest number."""
    scores, losses = np.asarray(scores, np.float64), np.asarray(losses, np.float64)
    if scores.ndim != 1 or scores.shape != losses.shape:
        raise CalibrationError(
            f"scores of shape {list(scores.shape)} and losses of shape {list(losses.shape)} do not belong together",
            hint="both are [N], a score and a loss for each record",
        )
    bad = np.flatnonzero(~((losses >= 0.0) & (losses <= 1.0)))
    if len(bad):
        raise CalibrationError(
            f"the loss of calibration record {bad[0]} is {losses[bad[0]]}, and must be from 0 to 1"
            + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""),
            hint="leave out records for which one of the models did not run; losses are those of Task.loss",
        )
    if np.isinf(scores).any():
        scores = np.where(scores == -np.inf, np.nan, np.minimum(scores, np.finfo(np.float64).max))
    return scores, losses


@dataclass(frozen=True, slots=True)
class Ranked:
    """Records by falling score, those without one left out.

    scores, losses: float64 [M]. ends: int64, of each run of equal scores the place behind it. n: all records, those
    without a score included. binary: all losses are 0 or 1.
    """

    scores: np.ndarray
    losses: np.ndarray
    ends: np.ndarray
    n: int
    binary: bool

    @classmethod
    def of(cls, scores: np.ndarray, losses: np.ndarray) -> Ranked:
        """Of what ``checked`` gave."""
        binary = bool(((losses == 0.0) | (losses == 1.0)).all())
        kept = ~np.isnan(scores)
        n = len(scores)
        if not kept.all():
            scores, losses = scores[kept], losses[kept]
        # Sums of zeros and ones are exact in any order; others are made so by an order that records cannot change.
        order = np.argsort(-scores, kind="stable") if binary else np.lexsort((losses, -scores))
        scores, losses = scores[order], losses[order]
        last = np.flatnonzero(scores[1:] != scores[:-1]) + 1
        ends = np.append(last, len(scores)) if len(scores) else last
        return cls(scores, losses, ends, n, binary)

    def whole(self, count: int) -> int:
        """How many of the first ``count`` records are left when a run of equal scores is taken whole or not at all."""
        at = int(np.searchsorted(self.ends, count, side="right"))
        return int(self.ends[at - 1]) if at else 0
