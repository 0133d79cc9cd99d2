"""What ends runs before their time: a word that they look at between kernels, and a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ronn.errors import CancelledError, OptionError, RunTimeoutError
from ronn.plan.segment import address

if TYPE_CHECKING:
    from ronn.provider import Call


class Stop:
    """Given to a run, it can end it between kernels: ``set()`` from any thread, or its ``deadline`` passing.

    timeout: seconds from now until the deadline; None for no deadline. within: another stop that sets this one too, and
        whose deadline holds as well.
    threads: how many the runs may use; None for as many as their session lets them.

    One stop may be given to several runs, which then end together. It cannot be taken back: later runs that are given
    it do not start.
    """

    __slots__ = ("__weakref__", "_inner", "_outer", "_word", "address", "deadline", "reason", "threads", "timeout")

    def __init__(
        self, timeout: float | None = None, within: Stop | None = None, threads: int | None = None
    ) -> None:
        self._word = np.zeros(1, np.int64)
        self._inner: set[Stop] = set()
        self._outer = within
        self.address = address(self._word)
        """Where engines look: an int64 that is not 0 as soon as the stop is set."""
        self.timeout = timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.reason: str | None = None
        bounds = [n for n in (threads, None if within is None else within.threads) if n is not None]
        self.threads: int | None = min(bounds, default=None)
        if within is not None:
            if within.deadline is not None and (self.deadline is None or within.deadline < self.deadline):
                self.timeout, self.deadline = within.timeout, within.deadline
            within._inner.add(self)
            if within.reason is not None:
                self.set(within.reason)

    def set(self, reason: str = "the run was cancelled") -> None:
        """Ends the runs that have been given this stop, each before its next kernel."""
        if self.reason is None:
            self.reason = reason
        self._word[0] = 1
        for stop in list(self._inner):
            stop.set(reason)

    def leave(self) -> None:
        """Ends the tie to the stop that this one is within."""
        if self._outer is not None:
            self._outer._inner.discard(self)

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, below 0 behind it; None without one."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    @property
    def due(self) -> bool:
        """Whether runs are to end now."""
        return self.reason is not None or (self.deadline is not None and time.monotonic() >= self.deadline)

    def error(self, call: Call | None = None) -> CancelledError:
        """The error that a run ends with, naming the node that it did not come to."""
        node = call.nodes[0] if call is not None and call.nodes else None
        if self.reason is not None:
            return CancelledError(f"{self.reason} before it came to this node" if node else self.reason, node=node)
        text = f"the run was not done after timeout={self.timeout:g} seconds"
        hint = "give it longer; `ronn profile` shows where the time goes"
        return RunTimeoutError(f"{text}, when it came to this node" if node else text, node=node, hint=hint)


def check_timeout(timeout: float | None) -> None:
    """Raises OptionError for a timeout that is not a time."""
    if timeout is not None and not timeout >= 0:
        raise OptionError(f"timeout={timeout!r} is not a time", hint="seconds, or None for no limit")


class Stops:
    """The stops of a session's runs in progress: one that all share, and those of runs with one of their own."""

    def __init__(self) -> None:
        self.shared = Stop()
        """For runs that begin now."""
        self._own: set[Stop] = set()
        self._lock = threading.Lock()

    @contextmanager
    def own(self, timeout: float | None, stop: Stop | None, threads: int | None = None) -> Iterator[Stop]:
        """A stop for one run: ``stop``, or a new one, that ends it after ``timeout`` seconds as well, and holds it to
        so many threads.

        Raises OptionError for a timeout that is not a time or a number that is none of threads, CancelledError at once
        when the stop is due already.
        """
        check_timeout(timeout)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise OptionError(f"threads={threads!r} is not a number of threads", hint="from 1 on, or None for all")
        mine = Stop(timeout, stop, threads)
        with self._lock:
            self._own.add(mine)
        try:
            if mine.due:
                raise mine.error()
            yield mine
        finally:
            with self._lock:
                self._own.discard(mine)
            mine.leave()

    def set(self) -> None:
        """Ends all runs in progress."""
        with self._lock:
            ending = [self.shared, *self._own]
            self.shared = Stop()
        for stop in ending:
            stop.set()


class _Running(threading.local):
    stop: Stop | None = None
    clock: list[tuple[int, int, float, float]] | None = None


NEVER = Stop()
"""For runs that nobody can stop."""

running = _Running()
"""Of the run that is in progress on this thread: its stop, for what kernels run in turn ends with it; and while it is
profiled, where calls with ``inner`` ones note what those did."""
