"""The guard: whether a certificate holds, and what made it void."""

from __future__ import annotations

import threading
from typing import Any

from ronn.forks import renew_after_fork
from ronn.records import dataclass
from ronn_hrm.drift.audit import AuditDetector
from ronn_hrm.drift.detector import Detector
from ronn_hrm.drift.novelty import NoveltyAlarm, Strangeness
from ronn_hrm.errors import StateError

PHASES = ("cold", "certified", "guard")
KEPT = 64
"""Alarms that are remembered."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Why a certificate became void.

    kind: ``audit``, ``novelty``, or ``void`` (something else than the traffic changed). epoch: the one that it ended.
    value: of the detector, with the limit that it reached. after: audits, for ``novelty`` requests, that the detector
    had seen. at: seconds since 1970. text: what is told.
    """

    kind: str
    epoch: int
    value: float
    after: int
    at: float
    text: str

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "epoch": self.epoch, "value": self.value, "after": self.after, "at": self.at,
            "text": self.text,
        }  # fmt: skip


class Guard:
    """cold -> certified -> guard -> certified: ``phase`` and ``epoch``, which counts what made certificates void.

    Detectors are asked only while a certificate holds. An alarm ends the epoch at once: phase ``guard``, where every
    request goes to the expensive model, records of former epochs certify no more, and detectors start anew. For any
    number of threads.
    """

    def __init__(self, alpha: float, run_length: float, audit: Detector | None = None) -> None:
        """audit: instead of the e-detector."""
        self.audit: Detector = AuditDetector(alpha, run_length) if audit is None else audit
        self.novelty: NoveltyAlarm | Strangeness | None = None
        self.phase = "cold"
        self.epoch = 0
        self.alarms: tuple[Alarm, ...] = ()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    @property
    def certified(self) -> bool:
        return self.phase == "certified"

    def certify(self, epoch: int, novelty: NoveltyAlarm | Strangeness | None = None) -> bool:
        """A certificate was found with records of ``epoch``. novelty: a reference that fits the new state, or None for
        no novelty alarm. False, and nothing changes, where there was an alarm since."""
        with self._lock:
            if epoch != self.epoch:
                return False
            # Audits go on through re-certification: what they ask, whether the risk is at most alpha, stays the same.
            self.phase, self.novelty = "certified", novelty
            return True

    def lapse(self) -> None:
        """No threshold can be certified any more, though there was no alarm: back to ``cold``, with records kept."""
        with self._lock:
            if self.phase == "certified":
                self.phase = "cold"

    def void(self, reason: str, at: float) -> None:
        """Models or options are others than those that were certified: back to ``cold``, and a new epoch."""
        with self._lock:
            self._end("cold", Alarm("void", self.epoch, 0.0, self.audit.count, at, reason))

    def audited(self, loss: float, at: float) -> Alarm | None:
        """One audit; ``loss`` as ``AuditDetector.update`` takes it, ``at`` in seconds since 1970."""
        with self._lock:
            if self.phase != "certified" or not self.audit.update(loss):
                return None
            value, after = self.audit.value, self.audit.count
            text = (
                f"audits say that the risk is above {self.audit.alpha:g}: evidence of {value:.0f} after {after} "
                f"audits, with the limit at {self.audit.run_length:g}"
            )
            return self._end("guard", Alarm("audit", self.epoch, value, after, at, text))

    def met(self, novelty: Any, at: float) -> Alarm | None:
        """One request and how novel it is, as the alarm's ``update`` takes it; NaN where that is not known."""
        with self._lock:
            alarm = self.novelty
            if alarm is None or self.phase != "certified" or not alarm.update(novelty):
                return None
            what = {"doubt": "harder"}.get(getattr(alarm, "leading", ""), "more novel")
            text = (
                f"inputs are {what} than those of calibration: {alarm.value:.1f} standard deviations after "
                f"{alarm.count} requests, with the limit at {alarm.sigmas:g}"
            )
            return self._end("guard", Alarm("novelty", self.epoch, alarm.value, alarm.count, at, text))

    def _end(self, phase: str, alarm: Alarm) -> Alarm:
        self.phase = phase
        self.epoch += 1
        self.alarms = (*self.alarms, alarm)[-KEPT:]
        self.audit.reset()
        self.novelty = None
        return alarm

    def as_data(self) -> dict[str, Any]:
        with self._lock:
            return {
                "phase": self.phase,
                "epoch": self.epoch,
                "alarms": [alarm.as_data() for alarm in self.alarms],
                "audit": self.audit.as_data(),
                "novelty": None if self.novelty is None else self.novelty.as_data(),
            }

    @classmethod
    def from_data(
        cls, data: dict[str, Any], alpha: float, run_length: float, audit: Detector | None = None
    ) -> Guard:  # fmt: skip
        """Goes on where ``as_data`` was. Audits count on only where ``alpha`` and ``run_length`` are what they were.
        Raises ``StateError`` for data of another kind."""
        found = cls(alpha, run_length, audit)
        try:
            if data["phase"] not in PHASES:
                raise ValueError(f"there is no phase {data['phase']!r}")
            found.phase, found.epoch = data["phase"], int(data["epoch"])
            found.alarms = tuple(Alarm(**alarm) for alarm in data["alarms"])
            if audit is not None:
                getattr(audit, "restore", lambda kept: None)(data["audit"])
            else:
                kept = AuditDetector.from_data(data["audit"])
                if (kept.alpha, kept.run_length) == (alpha, run_length):
                    found.audit = kept
            if data["novelty"] is not None:
                kind = Strangeness if "signals" in data["novelty"] else NoveltyAlarm
                found.novelty = kind.from_data(data["novelty"])
        except (KeyError, TypeError, ValueError) as e:
            raise StateError(f"what was kept of the guard cannot be read: {e!r}") from e
        return found
