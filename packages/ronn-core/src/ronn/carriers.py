"""The threads that carry runs and loads which somebody awaits: few, daemons, asleep when there is nothing to do.

They are made when first needed and made anew after a fork. When the interpreter exits, runs in progress are stopped
(between kernels) and waited for a moment; nothing hangs on them.
"""

from __future__ import annotations

import atexit
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ronn import knobs
from ronn.errors import RonnError
from ronn.forks import renew_after_fork
from ronn.listeners import waited
from ronn.plan.stop import Stop
from ronn.threads import default_threads

GRACE = 2.0
"""Seconds that runs in progress get to come to the end of a kernel when the interpreter exits."""

AT_EXIT = "the interpreter exits"

_exiting = False
_in_progress: set[Stop] = set()


class Carriers:
    """Up to ``most()`` threads that take jobs in order. A job is called once, and must not raise."""

    def __init__(self, name: str, most: Callable[[], int]) -> None:
        self._name = name
        self._most = most
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: the threads, and what waits for them, are the parent's."""
        _in_progress.clear()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0
        self._limit = 0  # found out when first needed

    def start(self, job: Callable[[], None]) -> None:
        """Has a thread call ``job``, in the context of the caller, as soon as one is free. Never blocks for long."""
        if _exiting:
            raise RonnError("no runs are taken any more: the interpreter exits")
        context = contextvars.copy_context()
        called = time.monotonic()

        def carry() -> None:
            waited.set(time.monotonic() - called)
            job()

        self._jobs.put(lambda: context.run(carry))
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            self._limit = self._limit if self._limit > 0 else self._most()
            if self._threads < self._limit:
                self._threads += 1
                name = f"{self._name}-{self._threads}"
                threading.Thread(target=_carry, args=(self._jobs, self._idle), name=name, daemon=True).start()


def _carry(jobs: queue.SimpleQueue[Callable[[], None]], idle: threading.Semaphore) -> None:
    while True:
        job = jobs.get()
        job()
        del job  # what it holds must not wait for the next one
        idle.release()


def _runs() -> int:
    wanted = knobs.ASYNC_THREADS.get()
    return wanted if wanted > 0 else max(2, default_threads())


runs = Carriers("ronn-run", _runs)
"""For runs: as many at a time as there are processors for (RONN_ASYNC_THREADS), at least two."""

loads = Carriers("ronn-load", lambda: 2)
"""For loading and planning models, so that a server that loads one goes on answering with the others."""


@contextmanager
def stopped_at_exit(stop: Stop) -> Iterator[None]:
    """Sets ``stop`` when the interpreter exits meanwhile."""
    _in_progress.add(stop)
    try:
        if _exiting:
            stop.set(AT_EXIT)
        yield
    finally:
        _in_progress.discard(stop)


def _stop_all() -> None:
    global _exiting
    _exiting = True
    for stop in list(_in_progress):
        stop.set(AT_EXIT)
    until = time.monotonic() + GRACE
    while _in_progress and time.monotonic() < until:
        time.sleep(0.002)


atexit.register(_stop_all)
