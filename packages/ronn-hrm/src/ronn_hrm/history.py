"""The course of a stream: what was counted window by window, and what happened between.

Windows are differences of a session's metrics. Old ones are merged, so that a history of any length has few of them;
counts are kept whole by that. With a folder all of it is in a database there too.

A session calls ``tick(number)`` every hundred requests or so, from the thread behind the answers, and ``event`` when
something happens; everything else is read from its metrics.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from ronn.forks import renew_after_fork
from ronn.records import dataclass
from ronn_hrm.errors import StateError
from ronn_hrm.metrics import Metrics

DATABASE = "history.sqlite"
"""In the folder of a memory, beside what is restored from snapshots: what happened stays what happened."""

GAUGES = (
    "lam", "bound", "share", "detector", "novelty", "guard", "epoch", "cache_bytes", "episodes", "episode_bytes",
    "state_bytes",
)  # fmt: skip
"""The gauges of metrics that windows note, as they were at their end."""

EVENTS = ("alarm", "guard", "certificate", "resume", "sleep", "restore", "state")
"""Kinds of events: an alarm, the guard that begins with it, a certificate, the return to two paths, a consolidation
with its report, a snapshot put back, a state that took over for another reason."""

_TABLES = """
CREATE TABLE IF NOT EXISTS history_windows (first INTEGER PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history_events (n INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted from request ``first`` to request ``last``.

    began, ended: seconds since 1970. paths: requests by path. full_runs: of the expensive model, audits included.
    audits, wrong: how many were compared in that time, and the sum of their losses. gauges: by name, at the end.
    """

    first: int
    last: int
    began: float
    ended: float
    paths: dict[str, int]
    full_runs: float
    audits: float
    wrong: float
    gauges: dict[str, float]

    @property
    def requests(self) -> int:
        return sum(self.paths.values())

    def with_next(self, after: Window) -> Window:
        """Both windows as one; ``after`` is the next."""
        paths = {p: self.paths.get(p, 0) + after.paths.get(p, 0) for p in {**self.paths, **after.paths}}
        return Window(
            self.first, after.last, self.began, after.ended, paths, self.full_runs + after.full_runs,
            self.audits + after.audits, self.wrong + after.wrong, after.gauges,
        )  # fmt: skip

    def as_data(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "began": self.began,
            "ended": self.ended,
            "paths": self.paths,
            "full_runs": self.full_runs,
            "audits": self.audits,
            "wrong": self.wrong,
            "gauges": self.gauges,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: at which time (seconds since 1970), behind which request, of which kind of ``EVENTS``,
    and what there is to say about it (plain values)."""

    at: float
    request: int
    kind: str
    about: dict[str, Any]

    def as_data(self) -> dict[str, Any]:
        return {"at": self.at, "request": self.request, "kind": self.kind, "about": self.about}


class History:
    """The windows and events of one session.

    metrics: that are looked at. folder: where they are kept as well, in a database; what is there already is gone on
    with. most: windows from which on the older half is merged in pairs; events: how many of the latest are kept.

    ``tick`` and ``event`` write to disk; they are for the thread behind the answers. All may be called by any thread.
    """

    def __init__(
        self,
        metrics: Metrics,
        folder: Path | None = None,
        *,
        most: int = 400,
        events: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._most = max(most, 4)
        self._most_events = events
        self._clock = clock
        self._database = None if folder is None else folder / DATABASE
        self._connection: sqlite3.Connection | None = None
        self._windows: list[Window] = []
        self._events: list[Event] = []
        if self._database is not None:
            self._windows, self._events = _read(self._connect())
        self._began = clock()
        self._seen = self._counted()
        self._last = self._windows[-1].last if self._windows else 0
        self._lock = Lock()
        renew_after_fork(self)

    @property
    def windows(self) -> list[Window]:
        """Oldest first."""
        with self._lock:
            return list(self._windows)

    @property
    def events(self) -> list[Event]:
        """Oldest first."""
        with self._lock:
            return list(self._events)

    def mark(self) -> tuple[float, Any]:
        """What is counted now, for a ``tick`` that comes later."""
        return self._clock(), self._counted()

    def tick(self, request: int, mark: tuple[float, Any] | None = None) -> None:
        """Closes the window behind ``request``, the number of the latest one, by what was counted now, or at ``mark``;
        nothing where nothing was."""
        with self._lock:
            now, counted = self.mark() if mark is None else mark
            before, self._seen = self._seen, counted
            paths = {p: n - before[0].get(p, 0) for p, n in counted[0].items() if n > before[0].get(p, 0)}
            full_runs, audits, wrong = (b - a for a, b in zip(before[1], counted[1], strict=True))
            if not paths and not full_runs and not audits:
                return
            gauges = {name: v for name, v in self._metrics.gauges().items() if name in GAUGES}
            first, self._last = self._last + 1, max(request, self._last + 1)
            self._windows.append(Window(first, self._last, self._began, now, paths, full_runs, audits, wrong, gauges))
            self._began = now
            merged = len(self._windows) > self._most
            if merged:
                half = len(self._windows) // 4 * 2
                old = self._windows[:half]
                pairs = [a.with_next(b) for a, b in zip(old[::2], old[1::2], strict=True)]
                self._windows[:half] = pairs
            self._keep(self._windows if merged else self._windows[-1:], anew=merged)

    def event(self, kind: str, request: int, /, **about: Any) -> None:
        """Notes that something of a kind of ``EVENTS`` happened behind ``request``."""
        if kind not in EVENTS:
            raise ValueError(f"there is no event {kind!r}: {', '.join(EVENTS)}")
        with self._lock:
            event = Event(self._clock(), request, kind, about)
            self._events = [*self._events[-self._most_events + 1 :], event]
            if self._database is None:
                return
            with self._connect() as database:
                database.execute("INSERT INTO history_events (data) VALUES (?)", [_text(event.as_data())])
                number = database.execute("SELECT max(n) FROM history_events").fetchone()[0]
                database.execute("DELETE FROM history_events WHERE n <= ?", [number - self._most_events])

    def close(self) -> None:
        """Closes the database; what is in memory can still be read."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._database = None, None

    def after_fork(self) -> None:
        """In a child process: the database is the parent's."""
        self._lock = Lock()
        self._connection, self._database = None, None

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them (except that gauges may be infinite)."""
        return {"windows": [w.as_data() for w in self.windows], "events": [e.as_data() for e in self.events]}

    def _counted(self) -> tuple[dict[str, int], tuple[float, float, float]]:
        count = self._metrics.count
        return self._metrics.requests(), (count("full_runs"), count("audits"), count("disagreements"))

    def _keep(self, windows: Sequence[Window], anew: bool) -> None:
        if self._database is None:
            return
        with self._connect() as database:
            if anew:
                database.execute("DELETE FROM history_windows")
            rows = [(w.first, _text(w.as_data())) for w in windows]
            database.executemany("INSERT OR REPLACE INTO history_windows VALUES (?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            assert self._database is not None
            try:
                self._connection = sqlite3.connect(self._database, timeout=30.0, check_same_thread=False)
                # Readers and the writer do not wait for each other.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.executescript(_TABLES)
            except sqlite3.Error as e:
                raise StateError(
                    f"the history in {self._database} cannot be opened: {e}",
                    hint="remove the file: nothing depends on it but what reports show of the past",
                ) from e
        return self._connection


def read_history(folder: Path) -> tuple[list[Window], list[Event]]:
    """The history in a memory folder, which a session may be writing to; empty where none was kept."""
    database = folder / DATABASE
    if not database.is_file():
        return [], []
    try:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            return _read(connection) if {"history_windows", "history_events"} <= tables else ([], [])
        finally:
            connection.close()
    except sqlite3.Error as e:
        raise StateError(f"the history in {database} cannot be read: {e}") from e


def _read(connection: sqlite3.Connection) -> tuple[list[Window], list[Event]]:
    windows = [json.loads(text) for (text,) in connection.execute("SELECT data FROM history_windows ORDER BY first")]
    events = [json.loads(text) for (text,) in connection.execute("SELECT data FROM history_events ORDER BY n")]
    return [Window(**w) for w in windows], [Event(**e) for e in events]


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), default=float)
