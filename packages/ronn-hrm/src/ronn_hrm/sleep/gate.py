"""The gate: a new state is promoted only if records that had no part in it say that it is better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ronn.records import dataclass
from ronn_hrm.scorers.choose import FEWEST, share_about
from ronn_hrm.sleep.report import Judged

if TYPE_CHECKING:
    from ronn_hrm.certify import Records
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.state import State

FEWEST_GATE = 30
MOST = 4000
"""Records of a role that are asked: more say little more, and take time."""
UNBIASED = ("full:cold-start", "full:guard", "full:calibration")
"""Paths of requests that went to the expensive model whatever they were. Others did for a low score, and as they are
not like the traffic, scorers are fitted to them only where these are too few."""


@dataclass(frozen=True, slots=True)
class Folds:
    """Episodes that judge: ``fit``, ``gate`` and ``calibrate`` since the last alarm; ``old``: held out before it."""

    fit: Episodes
    gate: Episodes
    calibrate: Episodes
    old: Episodes

    @classmethod
    def of(cls, episodes: Episodes, epoch: int, *, seed: int = 0) -> Folds:
        """Of episodes of all roles, oldest first."""
        role = np.array(episodes.role, object)
        answered = np.array([f is not None for f in episodes.full], bool)
        now = (episodes.epoch == epoch) & answered
        fit = now & (role == "fit")
        unbiased = fit & np.array([p in UNBIASED for p in episodes.path], bool)
        if unbiased.sum() >= 2 * FEWEST:
            fit = unbiased
        old = (episodes.epoch < epoch) & answered & np.isin(role, ("fit", "gate", "calibrate"))
        rows = np.flatnonzero(old)
        if len(rows) > MOST:
            old[:] = False
            old[np.random.default_rng(seed).permutation(rows)[:MOST]] = True
        return cls(
            episodes.where(_newest(fit)), episodes.where(_newest(now & (role == "gate"))),
            episodes.where(now & (role == "calibrate")), episodes.where(old),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        return {"fit": len(self.fit), "gate": len(self.gate), "calibrate": len(self.calibrate), "old": len(self.old)}

    def missing(self) -> str:
        """What there is too little of; empty: of nothing."""
        if len(self.gate) < FEWEST_GATE:
            return f"{len(self.gate)} records of the gate role are too few to judge by: {FEWEST_GATE} at least"
        return "" if len(self.calibrate) else "there are no calibration records since the last alarm"

    @staticmethod
    def share(scorer: Scorer, records: Records, alpha: float) -> float:
        """The share that records promise for a scorer; 0 without records."""
        return share_about(scorer.score_many(records.features), records.losses, alpha) if len(records) else 0.0


def judged(state: State, certified: State, gate: Records, old: np.ndarray, alpha: float) -> Judged:
    """What held-out records say of a state; ``certified`` is it with what calibration records certify. old: losses on
    what was before the last alarm."""
    scorer, found, lam = state.scorer, certified.certificate, certified.lam
    scores = scorer.score_many(gate.features)
    served = scores >= lam
    return Judged(
        state=state.id,
        scorer=f"{scorer.kind}({', '.join(scorer.names)})",
        agreement=_mean(1.0 - gate.losses),
        old=_mean(1.0 - old),
        gate=_mean(served.astype(np.float64)),
        risk=_mean(gate.losses * served),
        promise=Folds.share(scorer, gate, alpha),
        lam=lam,
        share=0.0 if found is None else found.share,
        bound=math.nan if found is None else found.bound,
    )


def fall(before: np.ndarray, after: np.ndarray) -> float:
    """By how much agreement falls, from losses; 0 without any."""
    return float(after.mean() - before.mean()) if len(before) and len(after) else 0.0


def allowed(count: int, forget: float) -> float:
    """The fall that is allowed on so many records: a single one more is."""
    return max(forget, 1.0 / max(count, 1)) + 1e-12


def verdict(before: Judged, after: Judged) -> tuple[bool, str]:
    """Whether the new state is better, and why, or why not: by the share of gate records that the cheap model may
    answer under what is certified; where nothing is for either, by the share that these records promise."""
    if math.isinf(before.lam) and math.isinf(after.lam):
        new, old, what = after.promise, before.promise, "nothing is certified; gate records promise a share"
    else:
        new, old, what = after.gate, before.gate, "the share of gate records that may be answered is"
    if not new > old:
        return False, f"{what} {new:.3f}, not more than the {old:.3f} of now"
    return True, f"{what} {new:.3f} instead of {old:.3f}"


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _newest(mask: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    mask = mask.copy()
    mask[rows[:-MOST]] = False
    return mask
