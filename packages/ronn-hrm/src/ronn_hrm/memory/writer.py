"""One thread that writes for all: a bounded queue in front of it, batches behind it, and no error lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Protocol

from ronn.forks import renew_after_fork
from ronn_hrm.errors import StateError

_LINGER = 0.02
"""Seconds that a batch gathers before it is written, unless somebody waits for it."""


class Target(Protocol):
    """What is written to."""

    def write(self, batch: list[Any], durable: bool) -> Exception | None:
        """Writes all of a batch, ``durable``: so that it, and all before it, survives a loss of power. Where it raises,
        nothing of the batch may have taken effect; the batch is kept. What it returns is an error of single items,
        which are lost; the rest of the batch is written."""
        ...


class Writer:
    """Has ``target`` write, on a thread of its own, what ``put`` was given, in that order.

    limit: bytes that may wait (as ``put`` was told); beyond it ``put`` waits for room. An error is raised by the next
    ``put``, ``flush`` or ``close``; each such call makes another attempt possible. The thread ends with ``close``.
    """

    def __init__(self, name: str, target: Target, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._closed = False
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)  # something to write, or the end
        self._done = threading.Condition(self._lock)  # a batch is written, or failed
        self._queue: deque[Any] = deque()
        self._bytes = 0
        self._idle = False  # the thread has nothing to write
        self._put = 0  # items ever queued
        self._written = 0  # items ever written
        self._synced = 0  # items that survive a loss of power
        self._wanted = 0  # items that somebody waits for
        self._wanted_synced = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        renew_after_fork(self)

    @property
    def waiting(self) -> int:
        """Items that are not yet written."""
        return self._put - self._written

    def put(self, item: Any, size: int) -> int:
        """Queues an item; the number of items queued so far."""
        with self._lock:
            if self._error is not None or self._closed:
                self._raise()
            if self._bytes > self._limit:
                self._wait_for_room()
            self._queue.append(item)
            self._bytes += size
            self._put += 1
            if self._idle:
                self._idle = False
                self._more.notify()
            return self._put

    def flush(self, *, durable: bool = False) -> None:
        """Waits until all that was queued before is written; ``durable``: so that it survives a loss of power."""
        with self._lock:
            if self._error is not None or self._closed:
                self._raise()
            self._wait_until(self._put, durable)

    def wait_for(self, number: int) -> None:
        """Waits until as many items as ``number`` (from ``put``) are written."""
        with self._lock:
            self._wait_until(number, False)

    def close(self) -> None:
        """Writes what is queued and ends the thread. The second call does nothing."""
        with self._lock:
            if self._closed:
                return
        try:
            self.flush(durable=True)
        finally:
            with self._lock:
                self._closed = True
                self._more.notify()
            self._thread.join()

    def after_fork(self) -> None:
        """The child has no such thread, and must not touch the parent's file."""
        self._lock = threading.Lock()
        self._more = self._done = threading.Condition(self._lock)
        self._queue.clear()
        self._closed = True
        self._error = StateError(
            "memory belongs to the process that opened it, and this one was forked from it",
            hint="make the session in the process that uses it",
        )

    def _wait_until(self, number: int, durable: bool) -> None:
        """With the lock held."""
        self._wanted = max(self._wanted, number)
        if durable:
            self._wanted_synced = max(self._wanted_synced, number)
        self._idle = False
        self._more.notify()
        while (self._written < number or (durable and self._synced < number)) and self._error is None:
            self._done.wait()
        if self._error is not None:
            self._raise()

    def _wait_for_room(self) -> None:
        while self._bytes > self._limit and self._error is None:
            self._wanted = self._put
            self._more.notify()
            self._done.wait()
        if self._error is not None:
            self._raise()

    def _raise(self) -> None:
        """Raises the pending error, and lets the thread try again; or says that all is closed."""
        error = self._error
        if error is None:
            raise StateError("memory is closed", hint="open the session again")
        if not self._closed:
            self._error = None
            self._more.notify()
        raise error

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """One batch. False when there will be none any more."""
        with self._lock:
            while self._error is not None or not (self._queue or self._wanted_synced > self._synced):
                if self._closed:
                    return False
                self._idle = True
                self._more.wait()
            self._idle = False
            self._linger()
            batch = list(self._queue)
            size = self._bytes
            durable = self._wanted_synced > self._synced
        lost: Exception | None = None
        failed: Exception | None = None
        try:
            lost = self._target.write(batch, durable)
        except Exception as e:
            failed = e
        with self._lock:
            if failed is None:
                for _ in batch:
                    self._queue.popleft()
                self._bytes -= size
                self._written += len(batch)
                if durable:
                    self._synced = self._written
            self._error = lost if failed is None else failed
            self._done.notify_all()
        return True

    def _linger(self) -> None:
        """Lets a batch gather. A commit for each item would keep the callers' processor busy."""
        end = time.monotonic() + _LINGER
        while not self._closed and self._wanted <= self._written and self._bytes <= self._limit // 2:
            if self._wanted_synced > self._synced or not self._more.wait(max(end - time.monotonic(), 0.0)):
                return
