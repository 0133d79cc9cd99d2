"""The learner: makes states and takes them into service, one at a time. Requests go on meanwhile."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from ronn.debug import INFO, tell
from ronn.records import replace
from ronn_hrm.certify import Records, certified, records_of
from ronn_hrm.drift.novelty import NoveltyAlarm
from ronn_hrm.fast_path import FastPath
from ronn_hrm.prepare import remembered, scored
from ronn_hrm.router import Live, Router

if TYPE_CHECKING:
    import numpy as np

    from ronn_hrm.contracts import Scorer
    from ronn_hrm.drift.guard import Alarm, Guard
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.memory.archive import StateArchive
    from ronn_hrm.parts import Parts
    from ronn_hrm.state import State

_LEAST_NOVEL = 50  # first occurrences from which on there is a novelty alarm


class Learner:
    """scorer: ``auto``, or one that is never changed. on_drift: as in ``HRMSession``."""

    def __init__(
        self,
        parts: Parts,
        router: Router,
        guard: Guard,
        archive: StateArchive,
        fingerprints: dict[str, str],
        *,
        scorer: Scorer | str,
        on_drift: str,
    ) -> None:
        self._parts = parts
        self._router = router
        self._guard = guard
        self._archive = archive
        self._fingerprints = fingerprints
        self._scorer = scorer
        self._on_drift = on_drift
        self.changing = threading.RLock()
        """Held by whoever makes a state."""

    # --- taking a state into service

    def take(self, state: State) -> None:
        """Puts a state into service; on disk first, so that a crash finds the old one or the new one."""
        store = self._parts.store
        if state.certificate is None:  # after an alarm, records from before must not certify again
            store.put("guard", self._guard.as_data())
            store.flush()
        self._archive.save(state)
        self._archive.promote(state.id)
        store.put("guard", self._guard.as_data())
        paused = "guard" if self._guard.phase == "guard" else "cold-start"
        self._router.live = Live(state, self._parts, self._guard.epoch, paused)
        metrics, found = self._parts.metrics, state.certificate
        metrics.set("lam", state.lam)
        metrics.set("bound", math.nan if found is None else found.bound)
        metrics.set("share", 0.0 if found is None else found.share)

    def after_fork(self) -> None:
        self.changing = threading.RLock()

    def take_back(self, alarm: Alarm) -> None:
        """After an alarm: nothing is certified any more; or, where alarms are only told, the next epoch begins."""
        with self.changing:
            state = self._router.live.state
            if self._on_drift == "tell":
                self._guard.certify(self._guard.epoch)
            else:
                state = replace(state, number=state.number + 1, lam=math.inf, certificate=None, id="")
            self.take(state)

    # --- certificates

    def certify(self) -> Certificate | None:
        """Makes a certificate of the calibration records since the last alarm, for the state in service; while nothing
        is certified, memory and scorer are made anew before."""
        with self.changing:
            state = self._router.live.state
            epoch = self._guard.epoch
            if self._router.live.collecting:
                state = self.prepared(state, epoch)
            return self.take_certified(state, self.records(state, "calibrate", epoch), epoch)

    def prepared(self, state: State, epoch: int) -> State:
        """With what can be learnt without changing the cheap model."""
        parts = self._parts
        if parts.cheap.embed is not None:
            state = remembered(state, parts.episodes(), parts.task)
        if self._scorer == "auto":
            state = scored(state, self.records(state, "fit", epoch), parts.guarantee.alpha)
        return state

    def remember_anew(self) -> None:
        """After episodes were forgotten: memory without them, and a threshold that goes with it."""
        with self.changing:
            epoch = self._guard.epoch
            state = remembered(self._router.live.state, self._parts.episodes(), self._parts.task)
            if self._router.live.collecting:
                self.take(state)
            else:
                self.take_certified(state, self.records(state, "calibrate", epoch), epoch)

    def records(self, state: State, role: str, epoch: int | None) -> Records:
        """Records of a role as a state sees them; epoch None: of all times."""
        episodes = self._parts.episodes(roles=(role,), epoch=epoch)
        return records_of(FastPath(self._parts.cheap, state), state, self._parts.assessor, episodes)

    def take_certified(self, state: State, records: Records, epoch: int) -> Certificate | None:
        """Certifies a state by calibration records of ``epoch``, and takes it into service. None, with the former
        state still there, where an alarm came meanwhile; None also where nothing could be certified."""
        parts = self._parts
        state = replace(state, fingerprints=self.fingerprints(), id="")
        made, reason = certified(
            state, records, parts.guarantee, parts.policy, parts.assessor, epoch=epoch, at=time.time()
        )
        if made.certificate is None:
            tell(INFO, "hrm", f"nothing is certified: {reason}")
            self._guard.lapse()
        elif not self._guard.certify(epoch, self._novelty(records)):
            return None
        else:
            parts.metrics.add("certificates")
            about = {"n": made.certificate.n, "share": made.certificate.share, "bound": made.certificate.bound}
            parts.history.event("certificate", parts.latest, epoch=epoch, state=made.id, **about)
        if parts.policy.certified or made.certificate is not None:
            self.take(made)
        return made.certificate

    def fingerprints(self) -> dict[str, str]:
        """What states hold for; the expensive model is opened for it if it was not."""
        if "full" not in self._fingerprints and self._parts.full.is_open:
            self._fingerprints["full"] = self._parts.full.fingerprint()
        return dict(self._fingerprints)

    def _novelty(self, records: Records) -> NoveltyAlarm | None:
        """How novel requests are that are met for the first time, as far as that is known."""
        names = self._parts.assessor.names
        if "novelty" not in names:
            return None
        first = {
            d: i for i, d in reversed(list(enumerate(records.episodes.digest))) if records.episodes.path[i] != "cache"
        }
        values: np.ndarray = records.features[sorted(first.values()), names.index("novelty")]
        known = values[~(values != values)]
        return NoveltyAlarm.learn(known) if len(known) >= _LEAST_NOVEL else None
