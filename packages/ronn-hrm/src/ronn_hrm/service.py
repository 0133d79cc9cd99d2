"""Taking states into service: on disk first, then by one assignment; and out of it at once when there is an alarm."""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING

from ronn.debug import WARNING, tell
from ronn.records import replace
from ronn_hrm.fast_path import FastPath
from ronn_hrm.router import Live

if TYPE_CHECKING:
    import numpy as np

    from ronn_hrm.drift.guard import Alarm, Guard
    from ronn_hrm.drift.novelty import Strangeness
    from ronn_hrm.keeper import Keeper
    from ronn_hrm.memory.archive import StateArchive
    from ronn_hrm.parts import Parts
    from ronn_hrm.router import Router
    from ronn_hrm.state import State


class Service:
    """Which state decides. on_drift: as in ``HRMSession``. keeper: runs what an alarm leaves to be written."""

    def __init__(
        self, parts: Parts, router: Router, guard: Guard, archive: StateArchive, keeper: Keeper, *, on_drift: str
    ) -> None:
        self._parts = parts
        self._router = router
        self.guard = guard
        self.archive = archive
        self._keeper = keeper
        self._on_drift = on_drift
        self._swapping = threading.Lock()
        self._tell_gauges(router.live.state)

    @property
    def live(self) -> Live:
        return self._router.live

    def take(self, state: State, epoch: int, novelty: Strangeness | None = None) -> bool:
        """Puts a state into service that was made of records of ``epoch``. False: there was an alarm since, and the
        former state stays. novelty: the alarm that fits it, if it is certified.

        On disk first, so that a crash finds the old one or the new one.
        """
        fast = FastPath(self._parts.cheap, state)
        self.archive.save(state)
        with self._swapping:
            if self.guard.epoch != epoch:
                return False
            if state.certificate is None:
                self.guard.lapse()
            elif not self.guard.certify(epoch, novelty):
                return False
            self._router.live = Live(state, fast, self._parts.policy, epoch, self._paused)
        self._write(state)
        return True

    @property
    def _paused(self) -> str:
        return "guard" if self.guard.phase == "guard" else "cold-start"

    def take_back(self, alarm: Alarm) -> None:
        """After an alarm: nothing is certified any more; or, where alarms are only told, the next epoch begins."""
        with self._swapping:
            live = self._router.live
            state = live.state
            if self._on_drift == "tell":
                self.guard.certify(self.guard.epoch)
            else:
                state = replace(state, number=state.number + 1, lam=math.inf, certificate=None, id="")
            self._router.live = Live(state, live.fast, self._parts.policy, self.guard.epoch, self._paused)
        # The guard comes first: records from before the alarm must never certify again, whatever happens now.
        self._parts.store.put("guard", self.guard.as_data())
        if not self._keeper.submit(functools.partial(self._write_later, state)):
            tell(WARNING, "hrm", "too much waits to be written: the state without a certificate is not on disk yet")

    def _write_later(self, state: State) -> None:
        self.archive.save(state)
        self._write(state)

    def forget(self, requests: np.ndarray) -> None:
        """Drops states on disk that remember inputs of some requests, but not the one that serves."""
        self.archive.forget(requests)

    def _write(self, state: State) -> None:
        self.archive.promote(state.id)
        self._parts.store.put("guard", self.guard.as_data())
        self._tell_gauges(state)
        # Of states that serve no more those stay whose decisions are in the log: they can be decided again.
        self.archive.prune(needed=self._parts.store.states())

    def _tell_gauges(self, state: State) -> None:
        metrics, found = self._parts.metrics, state.certificate
        metrics.set("lam", state.lam)
        metrics.set("bound", math.nan if found is None else found.bound)
        metrics.set("share", 0.0 if found is None else found.share)

    def after_fork(self) -> None:
        self._swapping = threading.Lock()
