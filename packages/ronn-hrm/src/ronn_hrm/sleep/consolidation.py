"""Consolidation: episodes in, a better state out, or the reason why there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ronn.records import dataclass, replace
from ronn_hrm.certify import Records, certified, records_of
from ronn_hrm.fast_path import FastPath, losses_of
from ronn_hrm.scorers.choose import chosen
from ronn_hrm.sleep.candidates import CHANGES, Unfit, refreshed
from ronn_hrm.sleep.gate import Folds, allowed, fall, judged, verdict
from ronn_hrm.sleep.lessons import lessons_of
from ronn_hrm.sleep.pace import Cancelled, Pace
from ronn_hrm.sleep.remembering import Remembering
from ronn_hrm.sleep.report import Judged, Report, Tried
from ronn_hrm.sleep.settings import strategy_of

if TYPE_CHECKING:
    from ronn_hrm.assess.assessor import Assessor
    from ronn_hrm.contracts import Policy, Scorer
    from ronn_hrm.fast_path import CheapModel
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.state import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """What consolidation came to. state: the new one, certified, if the report says that it is promoted, else the one
    that there was. records: of the calibrate role as the new state sees them; None where it is not promoted."""

    state: State
    records: Records | None
    report: Report


@dataclass(frozen=True, slots=True)
class Candidate:
    """A state with its scorer, the share that records of the fit role promise, and its agreement on them."""

    kind: str
    state: State
    share: float
    agreement: float


def consolidate(
    state: State,
    episodes: Episodes,
    *,
    cheap: CheapModel,
    assessor: Assessor,
    guarantee: Guarantee,
    policy: Policy,
    sleep: Sleep,
    epoch: int,
    at: float,
    scorer: Scorer | None = None,
    fit: Callable[..., Scorer] | None = None,
    stale: bool = False,
    strategy: str | None = None,
    budget_s: float | None = None,
    cancel: threading.Event | None = None,
) -> Outcome:
    """Makes candidates of a state and episodes, and promotes the best if records that had no part in it say so.

    The same episodes give the same candidates: another night without anything new finds nothing better by chance.
    Changes nothing: it is for the caller to take the outcome's state into service.

    episodes: of all roles, oldest first. Roles never mix: ``train`` teaches, ``fit`` fits scorers and picks the
    candidate, ``calibrate`` certifies it, once, and ``gate`` decides between it and the old state. Whether it forgets
    is asked of records held out before the last alarm.
    epoch: of now; what is older was before the last alarm, and may be replayed, but certifies nothing. at: seconds
    since 1970. scorer: one that is not to be changed; None: made anew for each candidate, by ``fit``, or by
    ``ronn_hrm.scorers.choose``.
    stale: whether something that adapter or student were taught from is to be forgotten: both are left out, and a state
    without them comes out where no better one is found.
    strategy, budget_s: instead of those of ``sleep``. cancel: ends it, between batches at the latest; the old state
    stays.
    """
    strategy = strategy_of(sleep.strategy if strategy is None else strategy)
    pace = Pace(cancel, sleep.budget_s if budget_s is None else budget_s)
    job = _Job(state, episodes, cheap, assessor, guarantee, policy, sleep, epoch, at, scorer, fit, pace)
    if stale:
        job.state = replace(state, correction=None, student=None, id="")
    try:
        found = job.run(strategy)
        return job.without_what_is_stale(found) if stale and not found.report.promoted else found
    except Cancelled:
        job.state = state
        return job.stays("cancelled", cancelled=True)


class _Job:
    def __init__(
        self, state: State, episodes: Episodes, cheap: CheapModel, assessor: Assessor, guarantee: Guarantee,
        policy: Policy, sleep: Sleep, epoch: int, at: float, scorer: Scorer | None,
        fit: Callable[..., Scorer] | None, pace: Pace,
    ) -> None:  # fmt: skip
        self.state, self.episodes, self.cheap, self.assessor = state, episodes, cheap, assessor
        self.guarantee, self.policy, self.sleep, self.epoch, self.at = guarantee, policy, sleep, epoch, at
        self.scorer, self.fit, self.pace = scorer, fit, pace
        self.tried: list[Tried] = []
        self._opened: dict[tuple[int, int], tuple[FastPath, State]] = {}
        self._searched: dict[int, Remembering] = {}
        self.counts: dict[str, int] = {}

    def run(self, strategy: str) -> Outcome:
        with self.pace.stage("lessons"):
            lessons = lessons_of(self.episodes, self.epoch, self.sleep.rows, replay=self.sleep.replay, seed=self.epoch)
            folds = Folds.of(self.episodes, self.epoch, seed=self.epoch)
        now = int((lessons.episodes.epoch == self.epoch).sum())
        self.counts = {"train": now, "replayed": len(lessons) - now, **folds.counts()}
        if not len(lessons):
            return self.stays("there is nothing to learn from")
        missing = folds.missing()
        if missing:
            return self.stays(missing)

        with self.pace.stage("memory"):
            base = refreshed(self.state, lessons, self.cheap, self.sleep)
        found: list[Candidate] = []
        if strategy in ("auto", "memory"):
            self._try(found, "memory", base, folds)
        for kind, make in CHANGES.items():
            if strategy not in ("auto", kind) or (kind == "student" and self.sleep.student is None):
                continue
            if self.pace.late:
                self.tried.append(Tried(kind, np.nan, "no time was left"))
                continue
            try:
                with self.pace.stage(kind):
                    made = make(base, lessons, self.cheap, self.sleep, self.pace, self.epoch)
            except Unfit as reason:
                self.tried.append(Tried(kind, np.nan, str(reason)))
                continue
            self._try(found, kind, made, folds)
        if not found:
            return self.stays("; ".join(f"{t.kind}: {t.why}" for t in self.tried))
        return self._gate(sorted(found, key=lambda c: (-c.share, -c.agreement)), folds)

    def _try(self, found: list[Candidate], kind: str, state: State, folds: Folds) -> None:
        """Gives a candidate its scorer, and keeps it."""
        with self.pace.stage("scorers"):
            records = self._records(state, folds.fit)
            alpha = self.guarantee.alpha
            if self.scorer is not None or not len(records):
                best = state.scorer if self.scorer is None else self.scorer
                share = folds.share(best, records, alpha)
            elif self.fit is not None:
                best = self.fit(records.features, state.names, records.losses, alpha=alpha)
                share = folds.share(best, records, alpha)
            else:
                best, share = chosen(records.features, state.names, records.losses, alpha=alpha)
        agreement = 1.0 - float(records.losses.mean()) if len(records) else 0.0
        found.append(Candidate(kind, replace(state, scorer=best, id=""), share, agreement))
        self.tried.append(Tried(kind, share))

    def _gate(self, candidates: list[Candidate], folds: Folds) -> Outcome:
        """Takes the most promising candidate that forgets too little to matter, certifies it, and holds it against the
        old state."""
        with self.pace.stage("gate"):
            old = self._losses(self.state, folds.old)
            kept = [self._losses(c.state, folds.old) for c in candidates]
            falls = [fall(old, losses) for losses in kept]
            fit = [i for i, value in enumerate(falls) if value <= allowed(len(old), self.sleep.forget)]
            at = fit[0] if fit else 0
            candidate = candidates[at]
            # Which state this is was decided without calibration records: they certify it, once.
            records = self._records(candidate.state, folds.calibrate)
            made = self._certified(candidate.state, records)
            of_now = self._certified(self.state, self._records(self.state, folds.calibrate))
            alpha = self.guarantee.alpha
            before = judged(self.state, of_now, self._records(self.state, folds.gate), old, alpha)
            after = judged(made, made, self._records(candidate.state, folds.gate), kept[at], alpha)
        if not fit:
            better, why = False, f"agreement on what was before the last alarm falls by {100 * falls[at]:.2f} points"
        else:
            better, why = verdict(before, after)
        if better and made.certificate is None and self.state.certificate is not None:
            better, why = False, "calibration records certify nothing for the new state"
        self.pace.check()
        if not better:
            return self.stays(why, candidate.kind, before, after)
        report = Report(
            True, why, candidate.kind, before, after, tuple(self.tried), self.counts, dict(self.pace.seconds)
        )  # fmt: skip
        return Outcome(made, records, report)

    def without_what_is_stale(self, found: Outcome) -> Outcome:
        """The original cheap model comes out, though it may be worse."""
        records = self._records(self.state, self.episodes.where(self._calibrates()))
        why = f"what was forgotten is not in it any more ({found.report.why})"
        report = replace(found.report, promoted=True, kind="original", why=why, seconds=dict(self.pace.seconds))
        return Outcome(self._certified(self.state, records), records, report)

    def _calibrates(self) -> np.ndarray:
        roles = np.array([role == "calibrate" for role in self.episodes.role], bool)
        return np.asarray(roles & (self.episodes.epoch == self.epoch))

    def _certified(self, state: State, records: Records) -> State:
        return certified(
            state, records, self.guarantee, self.policy, self.assessor, epoch=self.epoch, at=self.at
        )[0]  # fmt: skip

    def _records(self, state: State, episodes: Episodes) -> Records:
        self.pace.check()
        near = state.neighbours
        if near is not None:
            near = self._searched.setdefault(id(near), Remembering(near))
        return records_of(self._path(state), replace(state, neighbours=near), self.assessor, episodes)

    def _losses(self, state: State, episodes: Episodes) -> np.ndarray:
        """Losses of those episodes that the state can answer from what was kept, float64 [M]."""
        self.pace.check()
        answers, known = self._path(state).again(episodes)
        return losses_of(self.assessor.task, answers, episodes.where(known).full)

    def _path(self, state: State) -> FastPath:
        """The cheap model of a state, opened once for all that share it."""
        model = (id(state.student), id(state.correction))
        if model not in self._opened:
            self._opened[model] = FastPath(self.cheap, state), state
        return self._opened[model][0]

    def stays(
        self, why: str, kind: str = "", before: Judged | None = None, after: Judged | None = None, *,
        cancelled: bool = False,
    ) -> Outcome:  # fmt: skip
        """The old state stays."""
        report = Report(
            False, why, kind, before, after, tuple(self.tried), self.counts, dict(self.pace.seconds), cancelled
        )  # fmt: skip
        return Outcome(self.state, None, report)
