"""The learner: makes states, one at a time, of what memory holds. Requests go on meanwhile."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ronn.debug import INFO, WARNING, tell
from ronn.records import replace
from ronn_hrm.certify import GIVEN, Records, believable, certified, records_of
from ronn_hrm.drift.novelty import NoveltyAlarm, Strangeness
from ronn_hrm.errors import CalibrationWarning
from ronn_hrm.fast_path import FastPath

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.memory.archive import StateArchive
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.parts import Parts
    from ronn_hrm.service import Service
    from ronn_hrm.sleep.consolidation import Outcome
    from ronn_hrm.sleep.report import Report
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.state import State

_LEAST_NOVEL = 50  # first occurrences from which on there is a novelty alarm


class Learner:
    """scorer: ``auto``, or one that is never changed. fingerprints: of what states are to hold for. fit, consolidator:
    what plugins put in the place of ``choose`` and ``consolidate``."""

    def __init__(
        self, parts: Parts, service: Service, fingerprints: dict[str, str], *, scorer: Scorer | str, sleep: Sleep,
        fit: Callable[..., Scorer] | None = None, consolidator: Callable[..., Outcome] | None = None,
    ) -> None:  # fmt: skip
        self._parts = parts
        self._service = service
        self._fingerprints = fingerprints
        self._scorer = None if isinstance(scorer, str) else scorer
        self._sleep = sleep
        self._fit = fit
        self._consolidator = consolidator
        self._changing = threading.RLock()
        self.reason = ""
        """Why the latest try certified nothing; empty where it did."""
        self._doubted = False
        self._stale = bool(parts.store.get("stale", False))

    def certify(self) -> Certificate | None:
        """Makes a certificate of the calibration records since the last alarm, for the state in service; while nothing
        is certified, memory and scorer are made anew before."""
        with self._changing:
            live, epoch = self._service.live, self._service.guard.epoch
            state = self._prepared(live.state, epoch) if live.collecting else live.state
            return self._take(state, epoch)

    def consolidate(
        self,
        *,
        strategy: str | None = None,
        budget_s: float | None = None,
        cancel: threading.Event | None = None,
    ) -> Report:
        """As ``HRMSession.consolidate``. cancel: ends it soon after it is set, with the old state."""
        from ronn_hrm.sleep.consolidation import consolidate

        consolidator = consolidate if self._consolidator is None else self._consolidator
        parts = self._parts
        with self._changing:
            parts.metrics.add("sleeps")
            epoch = self._service.guard.epoch
            state = replace(self._service.live.state, fingerprints=self.fingerprints(), id="")
            found = consolidator(
                state, self._undoubted(parts.episodes()), cheap=parts.cheap, assessor=parts.assessor,
                guarantee=parts.guarantee, policy=parts.policy, sleep=self._sleep, epoch=epoch, at=time.time(),
                scorer=self._scorer, strategy=strategy, budget_s=budget_s, cancel=cancel, fit=self._fit,
                stale=self._stale,
            )  # fmt: skip
            report = found.report
            if report.promoted:
                novelty = None if found.records is None else self._novelty(found.state, found.records)
                if self._service.take(found.state, epoch, novelty):
                    parts.metrics.add("promotions")
                    self._note_stale(False)
                    self._note_certificate(found.state)
                else:
                    report = replace(report, promoted=False, why="there was an alarm meanwhile")
            parts.history.event("sleep", parts.latest, **report.as_data())
            return report

    def teacher_forgotten(self, requests: np.ndarray) -> None:
        """Some requests are to be forgotten: what adapter or student learnt from them is stale."""
        with self._changing:
            state = self._service.live.state
            if state.correction is None and state.student is None:
                return
            lessons = self._parts.store.episodes(roles=("train",), answers=False)
            if np.isin(lessons.request, requests).any():
                self._note_stale(True)

    def _note_stale(self, stale: bool) -> None:
        if stale != self._stale:
            self._stale = stale
            self._parts.store.put("stale", stale)

    @property
    def archive(self) -> StateArchive:
        """Where states are kept."""
        return self._service.archive

    def remember_anew(self) -> None:
        """After episodes were forgotten: memory without them, and a threshold that goes with it."""
        from ronn_hrm.sleep.refresh import remembering

        with self._changing:
            live = self._service.live
            episodes = self._undoubted(self._parts.episodes())
            state = remembering(live.state, episodes, self._parts.cheap, self._sleep, live.epoch)
            if live.collecting:
                self._service.take(state, live.epoch)
            else:
                self._take(state, live.epoch)

    def forget(self, requests: np.ndarray) -> None:
        """Drops former states that remember inputs of some requests."""
        with self._changing:
            self._service.forget(requests)

    def _prepared(self, state: State, epoch: int) -> State:
        """With what can be learnt without changing the cheap model."""
        from ronn_hrm.sleep.gate import Folds
        from ronn_hrm.sleep.refresh import remembering, scoring

        parts = self._parts
        episodes = self._undoubted(parts.episodes())
        state = remembering(state, episodes, parts.cheap, self._sleep, epoch)
        if self._scorer is not None:
            return state
        records = self._seen(state, Folds.of(episodes, epoch).fit)
        return scoring(state, records, parts.guarantee.alpha, self._fit)

    def _calibration(self, state: State, epoch: int) -> Records:
        """Calibration records since the last alarm, as a state sees them."""
        return self._seen(state, self._parts.episodes(roles=("calibrate",), epoch=epoch))

    def _seen(self, state: State, episodes: Episodes) -> Records:
        return records_of(FastPath(self._parts.cheap, state), state, self._parts.assessor, episodes)

    def _take(self, state: State, epoch: int) -> Certificate | None:
        """Certifies a state by calibration records of ``epoch``, and takes it into service. None where nothing could be
        certified; and, with the former state still there, where an alarm came meanwhile."""
        parts = self._parts
        state = replace(state, fingerprints=self.fingerprints(), id="")
        records = self._believable(self._calibration(state, epoch))
        made, reason = certified(
            state, records, parts.guarantee, parts.policy, parts.assessor, epoch=epoch, at=time.time()
        )
        self.reason = reason
        if made.certificate is None:
            tell(INFO, "hrm", f"nothing is certified: {reason}")
            if not parts.policy.certified:
                return None
        if not self._service.take(made, epoch, self._novelty(made, records)):
            self.reason = "there was an alarm meanwhile"
            return None
        self._note_certificate(made)
        return made.certificate

    def _note_certificate(self, state: State) -> None:
        found, parts = state.certificate, self._parts
        if found is not None:
            parts.metrics.add("certificates")
            about = {"n": found.n, "share": found.share, "bound": found.bound, "lam": found.lam}
            parts.history.event("certificate", parts.latest, epoch=found.epoch, state=state.id, **about)

    def fingerprints(self) -> dict[str, str]:
        """What states hold for; of the expensive model once it is open."""
        if "full" not in self._fingerprints and self._parts.full.is_open:
            self._fingerprints["full"] = self._parts.full.fingerprint()
        return dict(self._fingerprints)

    def _believable(self, records: Records) -> Records:
        """Without records that cannot be of the traffic; told once."""
        records, doubt = believable(records)
        if doubt and not self._doubted:
            self._doubted = True
            text = f"calibration inputs are left out: {doubt}"
            tell(WARNING, "hrm", text)
            warnings.warn(text, CalibrationWarning)
        return records

    def _undoubted(self, episodes: Episodes) -> Episodes:
        """Without calibration inputs that were given, once these were found not to be of the traffic."""
        return episodes.where(np.array([p != GIVEN for p in episodes.path], bool)) if self._doubted else episodes

    def _novelty(self, state: State, records: Records) -> Strangeness | None:
        """How novel requests are that are met for the first time, and how much the state doubts the cheap model's
        answers to them; None where too few are known."""
        names, episodes = self._parts.assessor.names, records.episodes
        rows = {d: i for i, d in enumerate(episodes.digest) if episodes.path[i] != "cache"}
        seen: np.ndarray = records.features[sorted(rows.values())]
        values = {"doubt": -state.scorer.score_many(seen)}
        if "novelty" in names:
            values["novelty"] = seen[:, names.index("novelty")]
        enough = {n: v for n, v in values.items() if np.isfinite(v).sum() >= _LEAST_NOVEL}
        return Strangeness({n: NoveltyAlarm.learn(v) for n, v in enough.items()}) if enough else None

    def after_fork(self) -> None:
        self._changing = threading.RLock()
