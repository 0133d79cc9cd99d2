"""The supervisor: what happens behind answers. Audits become episodes; surprises, alarms."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.debug import ERROR, WARNING, tell
from ronn_hrm.checks import FirstAnswers
from ronn_hrm.decision import Entry
from ronn_hrm.drift.novelty import Strangeness
from ronn_hrm.errors import StateError
from ronn_hrm.guarantee.kinds import least_records
from ronn_hrm.memory.episode import Episode
from ronn_hrm.router import Request, Router
from ronn_hrm.sleep.scheduler import Sleeper

if TYPE_CHECKING:
    from ronn_hrm.drift.guard import Alarm
    from ronn_hrm.keeper import Keeper
    from ronn_hrm.learner import Learner
    from ronn_hrm.parts import Parts
    from ronn_hrm.service import Service
    from ronn_hrm.sleep.report import Report
    from ronn_hrm.sleep.settings import Sleep

RECERTIFY = 1000
"""Requests between two certificates."""
WINDOW = 100
"""Requests of the history's smallest windows."""
_GROWTH = 1.25  # by how much calibration records grow between tries while nothing is certified
_AUDITED = ("calibrate", "gate")


class Supervisor:
    """Watches a router: has the learner make certificates, and the service take them back."""

    def __init__(
        self, parts: Parts, router: Router, service: Service, keeper: Keeper, learner: Learner, sleep: Sleep
    ) -> None:
        self._parts = parts
        self._router = router
        self._service = service
        self.guard = service.guard
        self.keeper = keeper
        self._learner = learner
        self._first = FirstAnswers(parts.task)
        self._counting = threading.Lock()
        self._records = len(parts.store.episodes(roles=("calibrate",), epoch=self.guard.epoch, answers=False))
        self._least = float(max(least_records(parts.guarantee), parts.audit.least))
        self._next_try = self._least
        self._since = self._ticks = 0
        self._trying = False
        self._novelty = next((i for i, n in enumerate(parts.assessor.names) if n == "novelty"), None)
        self._latest = time.perf_counter()
        self._lessons = 0
        self._sleeper = Sleeper(
            sleep, lambda cancel: learner.consolidate(cancel=cancel), last=self._last, fresh=lambda: self._lessons,
            done=self._slept,
        )  # fmt: skip
        router.note, router.learn = self._note, self._learn
        self._sleeper.start()

    def _last(self) -> float:
        """When the last request was answered, by the clock of ``time.monotonic``."""
        return time.monotonic() - (time.perf_counter() - self._latest)

    def _slept(self, report: Report) -> None:
        if not report.cancelled:
            self._lessons = 0

    # --- with every request

    def _note(self, request: Request) -> None:
        parts = self._parts
        seconds = request.ended - request.began
        parts.metrics.request(request.path, seconds)
        state = request.live.state
        features = tuple(zip(state.names, request.features, strict=False)) if request.features else ()
        entry = Entry(
            request.number, request.path, request.role, request.score, state.lam, state.id, features, request.near,
            seconds,
        )  # fmt: skip
        self._remember(parts.store.log, entry, request.digest, request.space)
        self._latest, parts.latest = request.ended, request.number
        self._sleeper.met()
        self._ticks += 1  # counts that are lost to another thread put a window, or a certificate, off by one request
        if self._ticks >= WINDOW:
            self._ticks = 0
            self.keeper.submit(functools.partial(parts.history.tick, request.number, parts.history.mark()))
        if request.live.collecting:
            return
        if request.score is not None and request.first:
            self._heed(self._met(request), request)
        self._since += 1
        if self._since >= RECERTIFY:
            self._since = 0
            self._try_later()

    def _met(self, request: Request) -> Alarm | None:
        """Tells the guard of a request that was met for the first time."""
        watched = self.guard.novelty
        if not isinstance(watched, Strangeness):
            return None
        signals = {"doubt": -request.score if request.score is not None else math.nan, "novelty": math.nan}
        if self._novelty is not None and request.features:
            signals["novelty"] = request.features[self._novelty]
        return self.guard.met([signals[name] for name in watched.signals], time.time())

    def _learn(self, request: Request) -> None:
        """Requests that the expensive model answered, or is to."""
        if request.full is not None and (request.fast is not None or not request.asked):
            self._keep(request)
        elif not self.keeper.submit(functools.partial(self.audit, request)):
            self._parts.metrics.add("failures", "audit")

    def audit(self, request: Request) -> None:
        """Runs what has not run yet of a request that the coin chose."""
        gated = request.path.startswith("full:gate")
        if request.fast is None and self._parts.policy.asks_fast and not gated:
            self._router.assess(request, {})
        if request.full is None:
            self._router.run_full(request, {}, why="audit")
        self._keep(request)

    def _keep(self, request: Request) -> None:
        """Makes an episode of a request whose answers are known, and draws what follows from it."""
        parts, fast, full = self._parts, request.fast, request.full
        assert full is not None
        state = request.live.state
        self._first.look(None if fast is None else fast.answer, full)
        loss = float("nan") if fast is None else parts.task.loss(fast.answer, full)
        now = time.time()
        self._remember(
            parts.store.append,
            Episode(
                request=request.number, digest=request.digest, at=now, role=request.role, path=request.path,
                features=np.array(request.features, np.float32), namespace=request.space, client=request.client,
                epoch=request.live.epoch, state=state.id,
                embedding=None if fast is None or fast.embedding is None else fast.embedding.astype(np.float16),
                fast=None if fast is None else fast.raw, full=full, loss=loss,
                score=float("nan") if request.score is None else request.score, lam=state.lam,
                inputs=request.feeds if parts.memory.store_inputs else None,
            ),
        )  # fmt: skip
        if request.role in _AUDITED:
            self._audited(request, loss, now)
        elif request.role == "train":
            self._lessons += 1

    def _remember(self, keep: Callable[..., None], *what: Any) -> None:
        """Keeps something. A request that is answered stays answered where memory cannot be written; that is told."""
        try:
            keep(*what)
        except StateError as e:
            self._parts.metrics.add("failures", "memory")
            tell(ERROR, "hrm", f"not everything can be kept: {e}", error=e)

    def _audited(self, request: Request, loss: float, now: float) -> None:
        parts = self._parts
        wrong = loss if request.served_fast and loss == loss else 0.0
        parts.metrics.add("audits")
        if wrong:
            parts.metrics.add("disagreements", by=wrong)
        if not request.live.collecting:
            # A selective guarantee is about what the cheap model answers: other audits say nothing of it.
            told = parts.guarantee.kind != "selective" or request.served_fast
            if told and request.live.epoch == self.guard.epoch:
                self._heed(self.guard.audited(wrong, now), request)
        elif request.role == "calibrate":
            with self._counting:
                self._records += 1
                due = self._records >= self._next_try
            if due:
                self._try_later()

    # --- what follows

    def _heed(self, alarm: Alarm | None, request: Request) -> None:
        """Acts on an alarm."""
        if alarm is None:
            return
        note = functools.partial(self._parts.history.event, "alarm", request.number, **alarm.as_data())
        self.keeper.submit(note)
        self._parts.metrics.add("alarms", alarm.kind)
        tell(WARNING, "hrm", alarm.text)
        self.begin_anew()
        self._service.take_back(alarm)

    def begin_anew(self) -> None:
        """Counts calibration records from none."""
        with self._counting:
            self._records, self._next_try = 0, self._least

    def _try_later(self) -> None:
        with self._counting:
            if self._trying:
                return
            self._trying = True
        if not self.keeper.submit(self._try):
            self._trying = False

    def _try(self) -> None:
        try:
            self._learner.certify()
        finally:
            with self._counting:
                self._next_try = max(self._records * _GROWTH, self._next_try)
                self._trying = False

    def after_fork(self) -> None:
        """In a child process."""
        self._counting = threading.Lock()
        self._trying = False
        self.keeper.after_fork()

    def close(self) -> None:
        """Ends consolidation, and finishes what waits."""
        self._sleeper.close()
        self.keeper.close()
