"""Pace: when consolidation is to stop, and how long its stages took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Cancelled(Exception):
    """Consolidation was told to stop. Never leaves it."""


class Pace:
    """cancel: set by whoever wants it to stop. budget_s: seconds from now on; None: no limit."""

    def __init__(self, cancel: threading.Event | None, budget_s: float | None) -> None:
        self._cancel = cancel
        self._ends = None if budget_s is None else time.monotonic() + budget_s
        self.seconds: dict[str, float] = {}

    def check(self) -> None:
        """Raises Cancelled once it was told to stop."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled

    @property
    def left(self) -> float | None:
        """Seconds; None: no limit."""
        return None if self._ends is None else self._ends - time.monotonic()

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self._ends is not None and time.monotonic() >= self._ends

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the seconds of what is done inside, and checks before."""
        self.check()
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
