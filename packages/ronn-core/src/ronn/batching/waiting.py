"""The requests of a batcher that wait: in groups that can be joined, the oldest first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from ronn.batching.join import Request, pack
from ronn.errors import CancelledError, QueueFullError, RonnError
from ronn.plan.stop import Stop
from ronn.records import dataclass, field

_count = itertools.count()


@dataclass(slots=True, eq=False)
class Entry:
    """One request on its way. ``stop`` knows its deadline; ``batch`` is the run that it is part of, when it is."""

    request: Request
    stop: Stop
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    batch: Batch | None = None
    left: bool = False

    def leave(self) -> None:
        """Nobody waits for this request any more. A run that nobody waits for is stopped."""
        self.left = True
        batch = self.batch
        if not self.future.cancel() and batch is not None and all(e.left for e in batch.entries):
            batch.stop.set()


@dataclass(slots=True, eq=False)
class Batch:
    """Requests that run together, as so many ``rows``, from ``began`` on (monotonic seconds)."""

    entries: Sequence[Entry]
    rows: int
    stop: Stop
    began: float


class Waiting:
    """A bounded queue that gives batches. ``max_wait``: seconds that a request waits for others to join it.

    A group is due when it is full, when its first request has waited long enough, or when it cannot be joined. Of those
    due the one whose first request is the oldest goes first, so no shape keeps another one waiting.
    """

    def __init__(self, size: int, sizes: Sequence[int], max_wait: float) -> None:
        self._size = size
        self._sizes = sizes
        self._max_wait = max_wait
        self._groups: dict[object, deque[Entry]] = {}
        self._rows: dict[object, int] = {}
        self._deadlines: list[tuple[float, int, Entry]] = []
        self._changed = threading.Condition()
        self.count = 0
        self.rejected = self.cancelled = 0
        self.closed = False

    def after_fork(self) -> None:
        """In a child process: what waits is the parent's."""
        self._changed = threading.Condition()
        self._groups.clear()
        self._rows.clear()
        self._deadlines.clear()
        self.count = 0

    def put(self, entry: Entry) -> None:
        """Adds a request. QueueFullError when ``size`` of them wait, RonnError when the batcher is closed."""
        with self._changed:
            if self.closed:
                raise RonnError("the batcher is closed")
            if self.count >= self._size:
                self.rejected += 1
                raise QueueFullError(
                    f"{self.count} requests are waiting, which is as many as may (queue={self._size})",
                    hint="send less, or try again later; a larger queue= makes requests wait longer",
                )
            key = entry if entry.request.key is None else entry.request.key
            group = self._groups.setdefault(key, deque())
            group.append(entry)
            self._rows[key] = self._rows.get(key, 0) + entry.request.rows
            self.count += 1
            if entry.stop.deadline is not None:
                heapq.heappush(self._deadlines, (entry.stop.deadline, next(_count), entry))
            self._changed.notify()
        entry.future.add_done_callback(lambda _: self._remove_cancelled(key, entry))

    def _remove_cancelled(self, key: object, entry: Entry) -> None:
        """Frees the place of a request that was cancelled while it waited."""
        if entry.future.cancelled():
            with self._changed:
                self.cancelled += 1
                self._remove(key, entry)

    def _remove(self, key: object, entry: Entry) -> bool:
        group = self._groups.get(key)
        if group is None or entry not in group:
            return False
        group.remove(entry)
        self._took(key, group, (entry,))
        return True

    def _took(self, key: object, group: deque[Entry], entries: Sequence[Entry]) -> None:
        self.count -= len(entries)
        self._rows[key] -= sum(e.request.rows for e in entries)
        if not group:
            del self._groups[key], self._rows[key]

    def close(self, drain: bool) -> list[Entry]:
        """No more requests; what waits is due at once, or given back to be told that it will not run."""
        with self._changed:
            self.closed = True
            left = [] if drain else [e for g in self._groups.values() for e in g]
            if not drain:
                self._groups.clear()
                self._rows.clear()
                self.count = 0
            self._changed.notify_all()
        return left

    def next(self) -> tuple[Batch | None, list[Entry]]:
        """The next batch, and requests whose time is over. Sleeps until there is one or the other; None and nothing:
        the batcher is closed and empty."""
        with self._changed:
            while True:
                now = time.monotonic()
                late = self._late(now)
                batch, due = self._due(now)
                if batch is not None or late:
                    return batch, late
                if self.closed and not self._groups:
                    self._changed.notify_all()
                    return None, []
                soonest = min(due, self._deadlines[0][0] if self._deadlines else due)
                self._changed.wait(None if soonest == float("inf") else max(soonest - now, 0))

    def _late(self, now: float) -> list[Entry]:
        late = []
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].future.done()):
            entry = heapq.heappop(self._deadlines)[2]
            key = entry if entry.request.key is None else entry.request.key
            if not entry.future.done() and self._remove(key, entry):
                late.append(entry)
        return late

    def _due(self, now: float) -> tuple[Batch | None, float]:
        """A batch, or the time when there will be one."""
        ready, soonest = None, float("inf")
        for key, group in self._groups.items():
            head = group[0]
            at = head.since + self._max_wait
            full = head.request.key is None or self._rows[key] >= self._sizes[-1]
            if full or self.closed or at <= now:
                if ready is None or head.since < self._groups[ready][0].since:
                    ready = key
            else:
                soonest = min(soonest, at)
        return (None, soonest) if ready is None else (self._take(ready, now), soonest)

    def _take(self, key: object, now: float) -> Batch | None:
        group = self._groups[key]
        count, rows = pack([e.request.rows for e in group], self._sizes)
        taken = [group.popleft() for _ in range(count)]
        self._took(key, group, taken)
        running = [e for e in taken if e.future.set_running_or_notify_cancel()]
        if not running:
            return self._due(now)[0]
        if len(running) < count:
            left = sum(e.request.rows for e in running)
            rows = left if len(running) == 1 else next(s for s in self._sizes if s >= left)
        deadlines = [e.stop.remaining for e in running]
        patience = None if None in deadlines else max((d for d in deadlines if d is not None), default=None)
        batch = Batch(running, rows, Stop(None if patience is None else max(patience, 0.0)), now)
        for entry in running:
            entry.batch = batch
        return batch


def not_run() -> CancelledError:
    """The error of requests that were waiting when their batcher was closed without draining."""
    return CancelledError("the batcher was closed before this request ran")
